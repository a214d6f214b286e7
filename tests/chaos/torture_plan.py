"""The jobs and the faults of a torture run, drawn from a seed: a bad run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.judge.evidence import PlannedJob

MODELS = ("coder", "writer")
ROLES = {"code": ("coder", "writer"), "text": ("writer", "coder")}
AIMED, AIMED_ROLE = "aim", "aimed"
"""The pool, the backend and the model of the jobs that meet an aimed kill; their role."""

URGENCIES = ("interactive", "background", "batch")

FROZEN_SECONDS = 15.0
"""A worker is frozen for longer than its lease, so that others take over its jobs."""

STALLED_SECONDS = 7.0
"""Valkey is frozen for longer than the timeout of a reply, so that every client retries."""


@dataclass(frozen=True)
class Plan:
    """The size and the seed of a run."""

    jobs: int
    workers: int
    latency_ms: float
    seed: int

    @property
    def seconds(self) -> float:
        """The time of submitting: 20,000 jobs take about four minutes."""
        return 25 + self.jobs * 0.011

    @property
    def at_once(self) -> int:
        """Calls that the upstream takes from the fleet: half again what the jobs need, so that a queue builds up."""
        return max(8, round(1.6 * self.jobs / self.seconds * self.latency_ms / 1000))

    @property
    def slots(self) -> int:
        """Calls at once in one worker: few enough that the others can take over those of a frozen one."""
        return max(3, round(self.at_once / (self.workers - 1)))

    def job_plans(self) -> list[PlannedJob]:
        """Every job, in the order of submitting: every queue in turn."""
        lanes = [(role, urgency) for urgency in URGENCIES for role in ROLES]
        return [PlannedJob(f"job-{number:08}", *lanes[number % len(lanes)]) for number in range(self.jobs)]

    def faults(self) -> list[tuple[float, str]]:
        """Each fault with its moment, in seconds since the first job, in order."""
        draw = random.Random(self.seed)
        return sorted((share * self.seconds, kind) for share, kind in self._shares(draw))

    def _shares(self, draw: random.Random) -> Iterator[tuple[float, str]]:
        kills, aimed, frozen = max(3, self.jobs // 1000), max(2, self.jobs // 2000), max(1, self.jobs * 3 // 20_000)
        yield draw.uniform(0.02, 0.06), "kill"  # early in a short run too, so that one stands clear of every outage
        for number in range(1, kills):
            yield draw.uniform(number / kills, (number + 1) / kills) * 0.96, "kill"
        for number in range(aimed):
            yield draw.uniform(number / aimed, (number + 1) / aimed) * 0.9, "aimed"
        yield draw.uniform(0.02, 0.04), "frozen"
        for number in range(1, frozen):
            yield draw.uniform(0.82, 0.9) if number % 2 else draw.uniform(0.55, 0.62), "frozen"
        yield draw.uniform(0.46, 0.5), "valkey-killed"
        yield draw.uniform(0.72, 0.76), "valkey-frozen"
        yield draw.uniform(0.52, 0.6), "deploy"
