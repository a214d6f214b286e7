"""Jobs a second, CPU a job and memory of the workers, side by side: 128 calls in flight, an upstream of 0, 20, 100 ms.

Each run starts afresh: Valkey, upstream, a full queue, then the worker. The rate is the upstream's: answers between
the moments when 10 % and 90 % of the jobs had theirs, after every worker process was up. CPU is of the same window.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import click
from rich.console import Console

from benchmarks.contenders import PEERS, Peer, select_peers
from benchmarks.processes import BenchmarkError, Child
from benchmarks.repeat import Case, Heading, interleaved, sheet
from benchmarks.run_environment import Demand, RunEnvironment, Sample, pause, run_environment
from benchmarks.table import Sheet, show

COLUMNS = {
    "rate": "jobs/s",
    "slots": "in flight",
    "worker_cpu": "worker CPU µs/job",
    "valkey_cpu": "Valkey CPU µs/job",
    "rss_mb": "worker RSS MB",
    "upstream_load": "upstream CPU %",
    "lost": "without result",
}
DRAIN = 120.0
"""Seconds after which a run that is not through has failed."""

SETTLE = 3.0
"""Seconds after the last answer in which its result must be in Redis."""

FEWEST = 20
"""Jobs in the shortest run."""


@dataclass(frozen=True)
class Plan:
    """How much is run: seconds of work for each run, and how often each is repeated."""

    seconds: float
    repetitions: int
    latencies: tuple[float, ...]


FULL = Plan(seconds=6.0, repetitions=3, latencies=(0, 20, 100))
QUICK = Plan(seconds=1.0, repetitions=1, latencies=(0, 100))


def jobs_for(peer: Peer, latency_ms: float, seconds: float) -> int:
    """Enough jobs to keep a peer busy for about that long."""
    ceiling = peer.slots / (latency_ms / 1000) if latency_ms else peer.hint
    return max(FEWEST, int(min(peer.hint, ceiling) * seconds))


def measure(peer: Peer, latency_ms: float, seconds: float, console: Console) -> dict[str, float]:
    """One run; `BenchmarkError` when the peer does not get through it."""
    count = jobs_for(peer, latency_ms, seconds)
    with run_environment(peer, Demand(count, latency_ms), console) as run:
        if peer.queue:
            run.run_command("fill")
        with run.worker() as worker:
            run.wait_until_ready(worker)
            figures = between(_until_answered(run, worker), count)
            lost = count - _stored(run) if peer.queue else 0
    return {**figures, "slots": peer.slots, "lost": lost}


def _until_answered(run: RunEnvironment, worker: Child) -> list[Sample]:
    """Samples from now until every job has been answered."""
    count, samples = run.parameters.count, [run.sample(worker)]
    end = time.monotonic() + DRAIN
    while samples[-1].answered < count:
        ended = worker.popen.poll() is not None
        pause()
        samples.append(run.sample(worker))
        stuck = ended or time.monotonic() > end
        if stuck and samples[-1].answered < count:
            why = "its worker ended" if ended else f"{DRAIN:.0f} s were over"
            raise BenchmarkError(f"{why} with {samples[-1].answered:.0f} of {count} answered. {worker.last_output}")
    return samples


def _stored(run: RunEnvironment) -> int:
    """How many jobs have a result, once all have or have had the time to."""
    end = time.monotonic() + SETTLE
    while True:
        stored = int(run.run_command("stored")["stored"])
        if stored >= run.parameters.count or time.monotonic() > end:
            return stored


def between(samples: list[Sample], count: int) -> dict[str, float]:
    """Rates over the window from 10 % to 90 % of `count`. `BenchmarkError` when the samples do not show one."""
    first = next(at for at in samples if at.answered >= 0.1 * count)
    last = next(at for at in samples if at.answered >= 0.9 * count)
    if last is first:
        first = samples[0]
    jobs, seconds = last.answered - first.answered, last.at - first.at
    if jobs <= 0:
        raise BenchmarkError("the run was over before it could be measured: it needs more jobs")
    return {
        "rate": jobs / seconds,
        "worker_cpu": (last.worker_cpu - first.worker_cpu) / jobs * 1e6,
        "valkey_cpu": (last.valkey_cpu - first.valkey_cpu) / jobs * 1e6,
        "rss_mb": first.rss / 1e6,
        "upstream_load": (last.upstream_cpu - first.upstream_cpu) / seconds * 100,
    }


def compare(peers: tuple[Peer, ...], plan: Plan, console: Console) -> list[Sheet]:
    """All peers at all latencies."""
    cases = [Case(peer, latency) for latency in plan.latencies for peer in peers]
    outcomes = interleaved(
        cases,
        plan.repetitions,
        lambda case: measure(case.peer, float(case.setting), plan.seconds, console),
        console,
    )
    return [
        sheet(_heading(latency), {case: outcome for case, outcome in outcomes.items() if case.setting == latency})
        for latency in plan.latencies
    ]


def _heading(latency_ms: float) -> Heading:
    ceiling = f" 128 calls in flight can do {128 / latency_ms * 1000:,.0f} jobs/s." if latency_ms else ""
    note = f"The upstream answers after {latency_ms:g} ms.{ceiling} One worker process, but for the pool."
    return Heading(f"Throughput, upstream {latency_ms:g} ms", COLUMNS, "rate", (note,))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option("--quick", is_flag=True, help="One short run each: less than two minutes.")
@click.option("--peer", "names", multiple=True, type=click.Choice([peer.module for peer in PEERS]))
@click.option("--latency-ms", "latencies", multiple=True, type=float)
def main(as_json: bool, quick: bool, names: tuple[str, ...], latencies: tuple[float, ...]) -> None:
    """Compare throughput."""
    plan = QUICK if quick else FULL
    plan = Plan(plan.seconds, plan.repetitions, latencies or plan.latencies)
    show(compare(select_peers(names), plan, Console(stderr=True)), as_json)


if __name__ == "__main__":
    main()
