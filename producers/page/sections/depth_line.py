"""The line of a cell: how many jobs waited in the last hour, and for how long the oldest had, against its target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from openfall.producers.duration_text import format_age
from openfall.router_core.state.depth_history import Depth, DepthSample
from openfall.router_core.vocabulary import Urgency

SPAN_SECONDS = 3600.0
WIDTH, HEIGHT = 120.0, 20.0
"""Of the drawing, in its own units."""


@dataclass(frozen=True, slots=True)
class DepthLine:
    """Two curves as points of SVG, and what they say in words. `was_late`: the oldest waited longer than its target."""

    depth: str
    age: str
    was_late: bool
    summary: str


def depth_line(samples: Sequence[DepthSample], pool: str, urgency: Urgency, target: float) -> DepthLine | None:
    """The line of a pool and an urgency. None: nothing waited in the last hour, or it is not known."""
    if not samples:
        return None
    end = samples[-1].at
    known = [(sample.at, sample.depth(pool, urgency)) for sample in samples if end - sample.at <= SPAN_SECONDS]
    most = max(depth.waiting for _, depth in known)
    oldest = max(depth.oldest_seconds for _, depth in known)
    if not most:
        return None
    ages = _points(known, end, lambda depth: depth.oldest_seconds / max(oldest, target))
    jobs = f"{most:,} {'job' if most == 1 else 'jobs'}"
    summary = f"last hour: up to {jobs} waited, the oldest for {format_age(oldest)}"
    return DepthLine(_points(known, end, lambda depth: depth.waiting / most), ages, oldest > target, summary)


def _points(known: Sequence[tuple[float, Depth]], end: float, share: Callable[[Depth], float]) -> str:
    """`x,y x,y ...`; the height is the share of the highest value."""
    return " ".join(
        f"{WIDTH * (1 - (end - at) / SPAN_SECONDS):.1f},{HEIGHT * (1 - share(depth)):.1f}" for at, depth in known
    )
