"""What is promised of the swaps of a card, and whether figures keep it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from benchmarks.swaps.card_simulator import BACKGROUND, BATCH, INTERACTIVE
from benchmarks.swaps.job_traces import THINK
from benchmarks.swaps.simulated_runs import FORESIGHT, LLAMA_SWAP, OURS, SIMULATED, Measured

Figures = Mapping[tuple[str, str], Measured]

NIGHT_OF_BOUND = 1.05
OF_FORESIGHT = 1.10
SOONER_THAN_LLAMA_SWAP = 0.75
NO_LATER = 1.002
"""Of llama-swap's end: the mean of twelve seeds of bots is known to about a thousandth, which is a third of a load."""
OF_EMPTY = 1.2
IN_TIME, IN_TIME_WITH_CLOUD, LEFT = 0.80, 0.99, 0.35
OF_SIMULATED, LATER_SECONDS = 1.10, 20.0
"""Of real workers, beside the simulated rule. 20 s of a trace are 0.7 s of the clock."""
DECISION_US = 100
EPSILON = 1e-6
CLOUD_TRACES = ("studio + cloud", "other model + cloud")


@dataclass(frozen=True)
class Promise:
    """One promise: a figure and the most that it may be."""

    text: str
    figure: float
    limit: float

    @property
    def kept(self) -> bool:
        return self.figure <= self.limit + EPSILON


def promises(figures: Figures) -> list[Promise]:
    """Every promise that these figures can tell of."""
    traces = {trace for trace, _ in figures}
    checks: Mapping[str, Callable[[Figures], Iterator[Promise]]] = {
        "night": _night, "studio": _foresight("studio"), "mixed": _foresight("mixed"), "bots": _bots, "abab": _abab,
        "other model": _flooded, **{name: _cloud(name) for name in CLOUD_TRACES},
    }  # fmt: skip
    kept = [promise for trace, check in checks.items() if trace in traces for promise in check(figures)]
    first = max((each.first_share for (_, rule), each in figures.items() if rule == OURS), default=0.0)
    decision = max((each.decision_us for (_, rule), each in figures.items() if rule == OURS), default=0.0)
    return [
        *kept,
        Promise("the first interactive job of a line waits: share of 4 longest loads and a call", first, 1.0),
        Promise("a decision: CPU µs, 95th percentile of the slowest trace", decision, DECISION_US),
    ]


def real_promises(figures: Figures) -> list[Promise]:
    """What real workers must keep: they do what the rule does in the simulator with the same jobs, so the promises of
    the simulator hold for them; and the promises that a short trace alone can show."""
    return [promise for trace in dict.fromkeys(trace for trace, _ in figures) for promise in _real(trace, figures)]


def _real(trace: str, figures: Figures) -> Iterator[Promise]:
    ours, simulated = figures[trace, OURS], figures[trace, SIMULATED]
    unanswered = max(waits.unanswered for waits in ours.waits)
    yield Promise(f"{trace}: jobs that were not answered", unanswered, 0.0)
    end = ours.end_seconds / simulated.end_seconds
    if trace == "night":
        yield Promise("night: loads", ours.loads, ours.models)
        yield Promise("night: end, of the simulated rule's", end, NIGHT_OF_BOUND)
        return
    yield Promise(f"{trace}: end, of the simulated rule's", end, OF_SIMULATED)
    yield Promise(f"{trace}: loads, of the simulated rule's", ours.loads / simulated.loads, OF_SIMULATED)
    late = ours.waits[INTERACTIVE].p95 - simulated.waits[INTERACTIVE].p95
    yield Promise(f"{trace}: people's p95, later than the simulated rule's (s)", late, LATER_SECONDS)
    missed = ours.waits[BACKGROUND].past_deadline + ours.waits[BATCH].past_deadline
    yield Promise(f"{trace}: background and batch past their deadline", missed, 0.0)


def _night(figures: Figures) -> Iterator[Promise]:
    ours = figures["night", OURS]
    yield Promise("night: loads", ours.loads, ours.models)
    yield Promise("night: end, of the bound", ours.end_seconds / ours.bound_seconds, NIGHT_OF_BOUND)


def _foresight(trace: str) -> Callable[[Figures], Iterator[Promise]]:
    def check(figures: Figures) -> Iterator[Promise]:
        ours, best = figures[trace, OURS], figures[trace, FORESIGHT]
        yield Promise(f"{trace}: loads, of the clairvoyant's", ours.loads / best.loads, OF_FORESIGHT)
        end = ours.batch_end_seconds / best.batch_end_seconds
        yield Promise(f"{trace}: end of batch, of the clairvoyant's", end, OF_FORESIGHT)

    return check


def _bots(figures: Figures) -> Iterator[Promise]:
    ours, theirs = figures["bots", OURS], figures["bots", LLAMA_SWAP]
    yield Promise("bots: end, of llama-swap's", ours.end_seconds / theirs.end_seconds, NO_LATER)
    sooner = ours.waits[INTERACTIVE].p50 / theirs.waits[INTERACTIVE].p50
    yield Promise("bots: people's p50, of llama-swap's", sooner, SOONER_THAN_LLAMA_SWAP)
    missed = ours.waits[BACKGROUND].past_deadline + ours.waits[BATCH].past_deadline
    yield Promise("bots: background and batch past their deadline", missed, 0.0)


def _abab(figures: Figures) -> Iterator[Promise]:
    ours, theirs = figures["abab", OURS], figures["abab", LLAMA_SWAP]
    yield Promise("abab: loads, of llama-swap's", ours.loads / theirs.loads, NO_LATER)
    yield Promise("abab: p95, of llama-swap's", ours.waits[0].p95 / theirs.waits[0].p95, NO_LATER)


def _flooded(figures: Figures) -> Iterator[Promise]:
    empty = figures["empty", OURS].waits[INTERACTIVE].p95
    for trace in ("same model", "beside", "pinned"):
        ours = figures[trace, OURS]
        limit = OF_EMPTY * empty + ours.usual_call
        yield Promise(f"10,000 batch jobs, {trace}: people's p95 (s)", ours.waits[INTERACTIVE].p95, limit)
    other = figures["other model", OURS]
    limit = 2 * THINK.load_seconds + other.usual_call
    yield Promise("10,000 batch jobs, other model: people's p95 (s)", other.waits[INTERACTIVE].p95, limit)
    late = other.waits[INTERACTIVE].late
    yield Promise("10,000 batch jobs, other model: people who wait for more than 5 s", late, 1 - IN_TIME)


def _cloud(trace: str) -> Callable[[Figures], Iterator[Promise]]:
    def check(figures: Figures) -> Iterator[Promise]:
        ours = figures[trace, OURS]
        yield Promise(
            f"{trace}: people who wait for more than 5 s", ours.waits[INTERACTIVE].late, 1 - IN_TIME_WITH_CLOUD
        )
        yield Promise(f"{trace}: people's calls that leave", ours.left, LEFT)

    return check
