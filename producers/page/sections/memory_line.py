"""The memory of a card over time as a drawing: what is in use by its models and by others, and the highest use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from openfall.producers.duration_text import format_age
from openfall.router_core.state.card_memory import MemoryUse, period_of

WIDTH, HEIGHT = 600.0, 40.0
"""Of the drawing, in its own units."""
MAX_STEPS = 120
"""The drawing has at most this number of steps: each has the mean of its periods, and the highest use of them."""


@dataclass(frozen=True, slots=True)
class MemoryLine:
    """Points of SVG, `x,y x,y ...`. A time of which nothing is known is a gap, so each curve may have several
    parts. `models` and `all_programs` are areas down to zero; `peaks` are lines. Means and `peak` are of the whole
    time, of which `known_seconds` are known."""

    models: tuple[str, ...]
    all_programs: tuple[str, ...]
    peaks: tuple[str, ...]
    mean_models_gb: float
    mean_others_gb: float
    peak: MemoryUse
    known_seconds: float

    @property
    def summary(self) -> str:
        others = f", others {self.mean_others_gb:.1f} GB" if self.mean_others_gb >= 0.05 else ""
        together = " together" if self.peak.total_gb else ""
        most = f"at most {self.peak.peak_gb:.1f} GB{together}; known for {format_age(self.known_seconds)}"
        return f"models {self.mean_models_gb:.1f} GB on average{others}, {most}"


@dataclass(frozen=True, slots=True)
class _Step:
    """The periods that share a place in the drawing: `number` from 0 to `MAX_STEPS`."""

    number: int
    uses: tuple[MemoryUse, ...]

    @property
    def models_gb(self) -> float:
        return _mean([use.models_gb for use in self.uses])

    @property
    def all_gb(self) -> float:
        return self.models_gb + _mean([use.others_gb for use in self.uses])

    @property
    def peak_gb(self) -> float:
        return max(use.peak_gb for use in self.uses)


def memory_line(memory: Sequence[MemoryUse], total_gb: float, span_seconds: float, now: float) -> MemoryLine | None:
    """The drawing of the last `span_seconds`. None: there is no sample."""
    if not memory or not total_gb:
        return None
    seconds = span_seconds / MAX_STEPS

    def number(use: MemoryUse) -> int:
        """By whole steps of the clock: a drawing of the same samples stays the same for the length of a step."""
        return min(MAX_STEPS - 1, max(0, int(use.at // seconds) - int(now // seconds) + MAX_STEPS - 1))

    parts = _without_gaps([_Step(each, tuple(uses)) for each, uses in groupby(memory, number)])

    def drawn(gb: Callable[[_Step], float]) -> tuple[str, ...]:
        return tuple(_points(part, gb, total_gb) for part in parts)

    return MemoryLine(
        models=tuple(map(_as_area, drawn(lambda step: step.models_gb))),
        all_programs=tuple(map(_as_area, drawn(lambda step: step.all_gb))),
        peaks=drawn(lambda step: step.peak_gb),
        mean_models_gb=_mean([use.models_gb for use in memory]),
        mean_others_gb=_mean([use.others_gb for use in memory]),
        peak=max(memory, key=lambda use: use.peak_gb),
        known_seconds=len(memory) * period_of(span_seconds).seconds,
    )


def _without_gaps(steps: Sequence[_Step]) -> list[list[_Step]]:
    """The steps, cut where one is missing."""
    parts: list[list[_Step]] = []
    for step in steps:
        if parts and parts[-1][-1].number == step.number - 1:
            parts[-1].append(step)
        else:
            parts.append([step])
    return parts


def _points(part: Sequence[_Step], gb: Callable[[_Step], float], total_gb: float) -> str:
    """Two points for each step: a height from its left to its right edge."""
    width = WIDTH / MAX_STEPS
    points = []
    for step in part:
        y = HEIGHT * (1 - min(1.0, gb(step) / total_gb))
        points += [f"{width * step.number:.1f},{y:.1f}", f"{width * (step.number + 1):.1f},{y:.1f}"]
    return " ".join(points)


def _as_area(points: str) -> str:
    """The points of a curve, and the way back along zero."""
    left, right = points.partition(",")[0], points.rpartition(" ")[2].partition(",")[0]
    return f"{left},{HEIGHT:.1f} {points} {right},{HEIGHT:.1f}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
