"""Runs of traces by rules in the simulator, in several processes, and what is measured of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from benchmarks.latency import quantile
from benchmarks.swaps.card_simulator import (
    BATCH,
    INTERACTIVE,
    LOAD_NOISE,
    NEVER,
    START_WITHIN,
    CardRule,
    SimJob,
    Simulation,
    Trace,
)
from benchmarks.swaps.job_traces import HOUR, REASON, THINK, TRACES, WRITE, azure, flooded
from benchmarks.swaps.our_rule import Clairvoyant, CloudBehind, OurRule
from benchmarks.swaps.peer_rules import LlamaSwapRule, OllamaRule

OURS, FORESIGHT, LLAMA_SWAP, OLLAMA = "openfall", "clairvoyant", "llama-swap", "Ollama"
SIMULATED = "openfall, simulated"
"""Our rule, beside real workers."""
RULES: Mapping[str, Callable[[], CardRule]] = {
    LLAMA_SWAP: LlamaSwapRule, OLLAMA: OllamaRule, OURS: OurRule, FORESIGHT: Clairvoyant,
}  # fmt: skip
LONGEST_RUN_SECONDS = 5 * 24 * HOUR
FLOODED_SECONDS = 6 * HOUR
FLOODS: Mapping[str, Callable[[int], Trace]] = {
    "empty": lambda seed: flooded(seed, None),
    "same model": lambda seed: flooded(seed, THINK),
    "beside": lambda seed: flooded(seed, WRITE),
    "pinned": lambda seed: flooded(seed, REASON, pinned=True),
    "other model": lambda seed: flooded(seed, REASON),
}
"""People on one model, with 10,000 batch jobs for one that is the same, fits beside, or does not."""


@dataclass(frozen=True)
class Waits:
    """The waits of the jobs of one urgency in seconds. `late`: the share that did not start in time. `past_deadline`:
    the share that ended after its deadline. `unanswered`: the share that did not end."""

    p50: float = 0.0
    p95: float = 0.0
    longest: float = 0.0
    late: float = 0.0
    past_deadline: float = 0.0
    unanswered: float = 0.0


@dataclass(frozen=True)
class Measured:
    """One run, or the mean of several. `first_share`: the longest wait of an interactive job that was the first to
    wait, as a share of its bound. `bound_seconds` 0: none is known. `usual_call`: the mean seconds of a batch job.
    `left`: the share of interactive jobs that left. `decision_us`: CPU µs of a decision, 95th percentile."""

    loads: float
    models: float
    end_seconds: float
    batch_end_seconds: float
    bound_seconds: float
    batch_bound_seconds: float
    waits: Sequence[Waits]
    first_share: float
    usual_call: float
    left: float
    put_back: float
    decision_us: float = 0.0


@dataclass(frozen=True)
class Experiment:
    """A trace, a rule, a seed."""

    trace: str
    rule: str
    seed: int
    azure: Path | None = None


def run_all(experiments: Sequence[Experiment]) -> dict[tuple[str, str], Measured]:
    """The mean over the seeds, by trace and rule."""
    with ProcessPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
        results = list(pool.map(run_one, experiments))
    runs: dict[tuple[str, str], list[Measured]] = {}
    for experiment, measured in zip(experiments, results, strict=True):
        runs.setdefault((experiment.trace, experiment.rule), []).append(measured)
    return {key: mean_of(some) for key, some in runs.items()}


def run_one(experiment: Experiment) -> Measured:
    """One run."""
    name, seed = experiment.trace, experiment.seed
    if name == "azure" and experiment.azure is not None:
        trace = azure(experiment.azure, seed)
    else:
        plain = name.removesuffix(" + cloud")
        trace = (TRACES.get(plain) or FLOODS[plain])(seed)
    rule = CloudBehind() if name.endswith(" + cloud") else RULES[experiment.rule]()
    until = FLOODED_SECONDS if name.removesuffix(" + cloud") in FLOODS else LONGEST_RUN_SECONDS
    return simulate(trace, rule, seed, until)


def simulate(trace: Trace, rule: CardRule, seed: int, until: float = LONGEST_RUN_SECONDS) -> Measured:
    """Simulate a trace by a rule."""
    sim = Simulation(trace, rule, seed).run(until)
    firsts = [job.waited for job in getattr(rule, "waited_first", ()) if job.started_at >= 0]
    measured = measure(trace, sim.jobs, loads=sum(card.loads for card in sim.cards), firsts=firsts, now=sim.now)
    decisions = sorted(getattr(rule, "decision_seconds", ()))
    return replace(measured, decision_us=1e6 * quantile(decisions, 0.95)) if decisions else measured


def measure(trace: Trace, jobs: Sequence[SimJob], *, loads: int, firsts: Sequence[float], now: float = 0.0) -> Measured:
    """The figures of jobs that have run. `firsts`: waits of interactive jobs that were the first to wait. `now`: the
    end of the run, for jobs that have not started."""
    waits = [_waits([job for job in jobs if job.urgency == urgency], urgency, now) for urgency in range(3)]
    people = [job for job in jobs if job.urgency == INTERACTIVE]
    batch = [job for job in jobs if job.urgency == BATCH]
    return Measured(
        loads=loads,
        models=len({job.model for job in jobs}),
        end_seconds=max(job.ended_at for job in jobs),
        batch_end_seconds=max((job.ended_at for job in batch), default=0.0),
        bound_seconds=end_bound(trace, trace.jobs),
        batch_bound_seconds=end_bound(trace, batch),
        waits=waits,
        first_share=max(firsts, default=0.0) / first_bound(trace),
        usual_call=fmean(job.work_seconds for job in batch) if batch else 0.0,
        left=sum(job.left for job in people) / max(1, len(people)),
        put_back=sum(job.put_back for job in jobs),
    )


def end_bound(trace: Trace, jobs: Sequence[SimJob]) -> float:
    """No schedule on one card ends these jobs before: calls take their share of its time, what is accepted after a
    moment is done after it, and models that share the card with no other must be loaded once. 0: several cards."""
    if len(trace.cards) > 1 or not jobs:
        return 0.0
    models = {model.name: model for model in trace.models}
    best = work = 0.0
    for job in sorted(jobs, key=lambda job: -job.accepted_at):
        work += job.work_seconds / models[job.model].slots
        best = max(best, job.accepted_at + work)
    used = [models[name] for name in {job.model for job in jobs}]
    vram_gb = trace.cards[0][1]
    alone = [
        model.load_seconds
        for model in used
        if all(model.vram_gb + other.vram_gb > vram_gb for other in used if other is not model)
    ]
    return max(best, work + (sum(alone) if alone else min(model.load_seconds for model in used)))


def first_bound(trace: Trace) -> float:
    """The longest that the first interactive job for a model may wait: four of the longest loads, and a call."""
    longest_load = max(model.load_seconds for model in trace.models) * (1 + LOAD_NOISE)
    return 4 * longest_load + max(job.work_seconds for job in trace.jobs)


def _waits(jobs: Sequence[SimJob], urgency: int, end: float) -> Waits:
    if not jobs:
        return Waits()
    waits = sorted(job.waited if job.waited < NEVER else end - job.accepted_at for job in jobs)
    late = sum(wait > START_WITHIN[urgency] + 1e-9 for wait in waits)
    missed = sum(job.ended_at < 0 or job.ended_at > job.deadline for job in jobs)
    unanswered = sum(job.ended_at < 0 for job in jobs)
    shares = (count / len(jobs) for count in (late, missed, unanswered))
    return Waits(quantile(waits, 0.5), quantile(waits, 0.95), waits[-1], *shares)


def mean_of(runs: Sequence[Measured]) -> Measured:
    """The mean of the figures; of shares of a bound the largest."""
    names = [name for name in Measured.__dataclass_fields__ if name not in ("waits", "first_share")]
    means = {name: fmean(getattr(run, name) for run in runs) for name in names}
    waits = [
        Waits(**{name: fmean(getattr(run.waits[i], name) for run in runs) for name in Waits.__dataclass_fields__})
        for i in range(3)
    ]
    return replace(runs[0], **means, waits=waits, first_share=max(run.first_share for run in runs))
