"""A promise of a run, as the judge found it, and summaries of numbers. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

MAX_EXAMPLES = 5

PATIENCE = float(os.environ.get("OPENFALL_CHAOS_PATIENCE", "1"))
"""What a limit on the time of an event is multiplied by: the tests share their machine with others, and a slow process
is none of what they look for. A window that excuses what happens in it is never wider: it would hide what they do look
for."""


@dataclass(frozen=True)
class Promise:
    """One thing that must hold. `finding` is the figure beside it; `examples` show what broke it."""

    name: str
    kept: bool
    finding: str
    examples: tuple[str, ...] = ()


@dataclass
class Delays:
    """Seconds. `disturbed` are those near a fault that excuses a longer delay."""

    clear: list[float] = field(default_factory=list)
    disturbed: list[float] = field(default_factory=list)

    def add(self, milliseconds: float, disturbed: bool) -> None:
        """Add one delay."""
        (self.disturbed if disturbed else self.clear).append(milliseconds / 1000)


def none_of(name: str, offenders: Sequence[str]) -> Promise:
    """The promise that nothing of a kind exists."""
    return Promise(name, not offenders, str(len(offenders)), tuple(offenders[:MAX_EXAMPLES]))


def spread(values: Sequence[float]) -> dict[str, float]:
    """The number of values, their median and their maximum."""
    if not values:
        return {"n": 0}
    ranked = sorted(values)
    return {"n": len(ranked), "p50": round(ranked[len(ranked) // 2], 2), "p100": round(ranked[-1], 2)}


def percentiles(values: Sequence[float]) -> str:
    """Median, 99th percentile and maximum in words."""
    if not values:
        return "none was observed"
    ranked = sorted(values)
    middle, late = ranked[len(ranked) // 2], ranked[min(len(ranked) - 1, len(ranked) * 99 // 100)]
    return f"p50 {middle:.3f} s, p99 {late:.3f} s, max {ranked[-1]:.3f} s of {len(ranked)}"
