"""What a variant costs a server more than the base: their calls alternate, so that what disturbs the machine hits both.

A duration is CPU time of the server's main thread. Other processes do not add to it, but for caches that they empty.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    chance = Random(SEED)
    means = sorted(_mean_of_medians(chance.choices(rounds, k=len(rounds))) for _ in range(RESAMPLES))
    return Figure(_mean_of_medians(rounds), means[OUTSIDE], means[-OUTSIDE - 1], len(rounds))


def _mean_of_medians(rounds: Sequence[Sequence[float]]) -> float:
    return fmean(median(place) for place in zip(*rounds, strict=True))
