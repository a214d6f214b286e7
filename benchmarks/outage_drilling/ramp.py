"""How slowly held jobs came back to a model that had healed, from the jobs' own stories.

Nothing of openfall is imported here. Moments are epoch milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Event = dict[str, Any]

RELEASED = re.compile(r"released: (\S+) takes calls again")

OVER = ("done", "fallen", "queued", "cancelled")
"""What ends a release: the job's end, its next fall, or its way to another model."""


@dataclass(frozen=True)
class Release:
    """One job that a model released. `ended` None: it still has not."""

    job: str
    model: str
    began: float
    ended: float | None = None
    answered: bool = False


@dataclass(frozen=True)
class Ramp:
    """How many of them a model had at once, at the most, and the moments at which that was more than it may."""

    model: str
    released: int
    most: int
    breaches: tuple[str, ...] = ()


def releases(stories: Mapping[str, Sequence[Event]]) -> list[Release]:
    """Every release of every job, in the order in which they began."""
    found = [release for job, story in stories.items() for release in _of(job, story)]
    return sorted(found, key=lambda release: release.began)


def _of(job: str, story: Sequence[Event]) -> Iterator[Release]:
    for place, event in enumerate(story):
        if event["event"] != "queued" or not (told := RELEASED.match(event.get("why") or "")):
            continue
        end = next((later for later in story[place + 1 :] if _ends(later, told[1])), None)
        answered = end is not None and end["event"] == "done" and end.get("status") == "answered"
        yield Release(job, told[1], float(event["at"]), None if end is None else float(end["at"]), answered)


def _ends(event: Event, model: str) -> bool:
    """Whether the job is no longer on its way at this model: a return to its own queue (a taken-over one) is not."""
    if event["event"] == "queued":
        return str(event.get("queue", "")).split(".")[1:2] not in ([model], [])
    return event["event"] in OVER


def ramp(model: str, found: Iterable[Release], begun_anew: Sequence[float], first: int, most: int) -> Ramp:
    """Follow a model through its releases: `first` at once, one more for each that was answered since `begun_anew`."""
    mine = [release for release in found if release.model == model]
    steps: list[tuple[float, int, str]] = [(release.began, 2, release.job) for release in mine]
    # What ended in the same millisecond had made room; what began anew then counts as having done so before.
    steps += [(release.ended, 1 if release.answered else 0, release.job) for release in mine if release.ended]
    steps += [(at, -1, "") for at in begun_anew]
    now, peak, allowed, breaches = 0, 0, first, []
    for at, kind, job in sorted(steps):
        if kind == -1:
            allowed = first
        elif kind == 2:
            now += 1
            peak = max(peak, now)
            if now > min(allowed, most):
                breaches.append(f"{job}: {now} at once of {min(allowed, most)} at {at:.0f}")
        else:
            now -= 1
            allowed += kind
    return Ramp(model, len(mine), peak, tuple(breaches))


def at_once(intervals: Iterable[tuple[float, float]]) -> int:
    """The most of these intervals that hold one moment."""
    steps = sorted(step for began, ended in intervals for step in ((began, 1), (ended, -1)))
    now = peak = 0
    for _, step in steps:
        now += step
        peak = max(peak, now)
    return peak
