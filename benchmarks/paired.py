"""What a variant costs a server more than the base: their calls alternate, so that what disturbs the machine hits both.

A duration is CPU time of the server's main thread. Other processes do not add to it, but for caches that they empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean, median

from benchmarks.table import Figure

RESAMPLES, SEED = 400, 7
OUTSIDE = RESAMPLES // 40
"""Resamples beyond each end of an interval of 95 %."""


@dataclass(frozen=True)
class ThreadClock:
    """The CPU time of the main thread of a process. Linux only."""

    pid: int

    def read_us(self) -> float:
        """Microseconds of CPU, to the nanosecond while the thread sleeps."""
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text().split()[0]) / 1000


def typical_difference(rounds: Sequence[Sequence[float]]) -> Figure:
    """What a call of the variant typically takes more, from rounds of as many differences: those at each place of a
    round have a median of their own, and these a mean. So what only one call of a round does counts too.

    The figure's spread is an interval of 95 %, by bootstrap: it has the true difference in 95 of 100 runs.
    """
    return _with_interval(len(rounds), lambda picked: _mean_of_medians([rounds[n] for n in picked]))


def scaled_difference(rounds: Sequence[Sequence[float]], yardstick: Sequence[Sequence[float]], unit: float) -> Figure:
    """The same on a machine on which the difference of the yardstick is `unit`. Both were measured in the same turns:
    what slowed one of them down slowed the other. The interval has the error of both."""

    def ratio(picked: Sequence[int]) -> float:
        ours, theirs = (_mean_of_medians([rows[n] for n in picked]) for rows in (rounds, yardstick))
        return unit * ours / theirs

    return _with_interval(len(rounds), ratio)


def _with_interval(count: int, estimate: Callable[[Sequence[int]], float]) -> Figure:
    """An estimate from all rounds, and its interval from rounds that are drawn at random."""
    chance, every = Random(SEED), range(count)
    drawn = sorted(estimate(chance.choices(every, k=count)) for _ in range(RESAMPLES))
    return Figure(estimate(every), drawn[OUTSIDE], drawn[-OUTSIDE - 1], count)


def _mean_of_medians(rounds: Sequence[Sequence[float]]) -> float:
    return fmean(median(place) for place in zip(*rounds, strict=True))
