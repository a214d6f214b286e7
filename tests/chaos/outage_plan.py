"""The jobs and the faults of an outage run, drawn from a seed: a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.judge.evidence import PlannedJob

UPSTREAMS: Mapping[str, str] = {"one": "alpha", "two": "beta"}
"""Each backend and the model that it serves. Both are killed at the same moment."""

ROLES: Mapping[str, Sequence[str]] = {
    "story": ("alpha", "beta"),
    "tags": ("beta", "alpha"),
    "alone": ("alpha",),
    "apart": ("beta",),
    "now": ("beta", "alpha"),
}
"""Each model has a role that it alone serves: so each has held jobs to answer when it is back."""
BRIEF = "now"
"""The role whose callers prefer a reply at once to an answer later: its jobs end degraded."""

URGENCIES = ("interactive", "interactive", "background", "background", "batch")
CALLBACKS = ("wait", "inbox", "webhook", "later")
"""How a caller learns of the end: it waits, reads an inbox, receives a webhook, or asks later."""

QUICK_JOBS = 300

RELEASE_FIRST = 1
RELEASE_LIMIT = 24


@dataclass(frozen=True, slots=True)
class Plan:
    """How many jobs, from which seed; `quick` takes half a minute where the other takes two and a half."""

    jobs: int
    seed: int
    quick: bool = False
    workers: int = 2
    degraders: int = 2
    slots: int = 32
    latency_ms: float = 60.0

    @property
    def seconds(self) -> float:
        """The time of submitting."""
        return 26.0 if self.quick else 150.0

    @property
    def away(self) -> tuple[float, float]:
        """When all backends are killed and when they are started again, in seconds since the first job."""
        return (6.0, 20.0) if self.quick else (40.0, 100.0)

    def job_plans(self) -> list[PlannedJob]:
        """Every job, in the order of submitting."""
        draw = random.Random(self.seed)
        roles, weights = list(ROLES), (5, 5, 3, 3, 1)
        return [
            PlannedJob(f"job-{n:06}", draw.choices(roles, weights)[0], draw.choice(URGENCIES), draw.choice(CALLBACKS))
            for n in range(self.jobs)
        ]

    def faults(self) -> list[tuple[float, str]]:
        """Each fault with its moment, in order. What is killed comes back, so each has an end of its own."""
        draw = random.Random(self.seed + 1)
        began, ended = self.away
        length = ended - began
        shares = {
            "notifier-away": (-0.05, -0.01),
            "worker": (0.15, 0.3),
            "degrade": (0.25, 0.45),
            "valkey": (0.55, 0.7),
        }
        faults = [(began + length * draw.uniform(*share), kind) for kind, share in shares.items()]
        faults.append((began + length * draw.uniform(0.35, 0.5), "notifier-back"))
        return sorted([*faults, (began, "backends-away"), (ended, "backends-back")])
