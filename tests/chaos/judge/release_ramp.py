"""The pace at which held jobs returned to a recovered model, from the stories of the jobs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Event = dict[str, Any]

RELEASED = re.compile(r"released: (\S+) takes calls again")

ENDING_EVENTS = ("done", "fallen", "queued", "cancelled")
"""The events that end a release: the end of the job, its next fall, or its move to another model."""


@dataclass(frozen=True)
class Release:
    """One release of a job. `ended` None: not yet."""

    job: str
    model: str
    began: float
    ended: float | None = None
    answered: bool = False


@dataclass(frozen=True)
class Ramp:
    """The most jobs that a model had at once, and the moments at which they were too many."""

    model: str
    released: int
    peak: int
    breaches: tuple[str, ...] = ()


def releases(stories: Mapping[str, Sequence[Event]]) -> list[Release]:
    """Every release of every job, in the order in which they began."""
    in_any_order = [release for job, story in stories.items() for release in _read_story(job, story)]
    return sorted(in_any_order, key=lambda release: release.began)


def _read_story(job: str, story: Sequence[Event]) -> Iterator[Release]:
    for position, event in enumerate(story):
        if event["event"] != "queued" or not (match := RELEASED.match(event.get("why") or "")):
            continue
        end = next((later for later in story[position + 1 :] if _ends(later, match[1])), None)
        answered = end is not None and end["event"] == "done" and end.get("status") == "answered"
        yield Release(job, match[1], float(event["at"]), None if end is None else float(end["at"]), answered)


def _ends(event: Event, model: str) -> bool:
    """Whether the job is no longer on its way at this model: a return to its own queue (a taken-over one) is not."""
    if event["event"] == "queued":
        return str(event.get("queue", "")).split(".")[1:2] not in ([model], [])
    return event["event"] in ENDING_EVENTS


def ramp(model: str, released: Iterable[Release], restarts: Sequence[float], first: int, limit: int) -> Ramp:
    """Follow a model through its releases: `first` at once, one more for each that was answered since `restarts`."""
    mine = [release for release in released if release.model == model]
    steps: list[tuple[float, int, str]] = [(release.began, 2, release.job) for release in mine]
    # Within a millisecond, restarts come first, then ends, then releases.
    steps += [(release.ended, 1 if release.answered else 0, release.job) for release in mine if release.ended]
    steps += [(at, -1, "") for at in restarts]
    now, peak, allowed, breaches = 0, 0, first, []
    for at, kind, job in sorted(steps):
        if kind == -1:
            allowed = first
        elif kind == 2:
            now += 1
            peak = max(peak, now)
            if now > min(allowed, limit):
                breaches.append(f"{job}: {now} at once of {min(allowed, limit)} at {at:.0f}")
        else:
            now -= 1
            allowed += kind
    return Ramp(model, len(mine), peak, tuple(breaches))


def max_overlap(intervals: Iterable[tuple[float, float]]) -> int:
    """The largest number of intervals that share a moment."""
    steps = sorted(step for began, ended in intervals for step in ((began, 1), (ended, -1)))
    now = peak = 0
    for _, step in steps:
        now += step
        peak = max(peak, now)
    return peak
