"""The evidence of one fault: what of a run's evidence concerns one broken upstream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tests.chaos.judge.evidence import Call, Evidence


@dataclass(frozen=True)
class Change:
    """One change of a breaker."""

    at: float
    target: str
    after: str
    why: str


@dataclass(frozen=True)
class Case:
    """One fault: the jobs submitted while `name` was broken and those after, and when it was repaired.

    `slots` and `consecutive_failures` are settings of the fleet; `began` and `healed` are moments.
    """

    name: str
    jobs: Sequence[str]
    after: Sequence[str]
    slots: int
    consecutive_failures: int
    began: float
    healed: float


class FaultEvidence:
    """The evidence of one fault. `claims_by_job`: when a job was claimed for the broken upstream."""

    def __init__(self, run: Evidence) -> None:
        self.case = case = Case(**run.case)
        self.results = run.results
        self.left = [job for job in run.ids if job in run.unfinished]
        self.stories = {job: run.history.stories[job] for job in run.ids}
        self.claims_by_job = {
            job: [float(event["at"]) for event in story if event.get("backend") == case.name and _is_claim(event)]
            for job, story in self.stories.items()
        }
        calls = sorted((call for call in run.calls if call.received >= case.began), key=lambda call: call.received)
        self.broken: list[Call] = [call for call in calls if call.upstream == case.name]
        self.good: list[Call] = [call for call in calls if call.upstream == "good"]
        targets = (f"{case.name}/{case.name}", "key:")
        rows = [row for row in run.history.breaker_changes if row["at"] >= case.began]
        rows = [row for row in rows if row["target"] == targets[0] or row["target"].startswith(targets[1])]
        changes = [Change(row["at"], row["target"], row["to"], row["why"]) for row in rows]
        self.changes = sorted(changes, key=lambda change: change.at)
        self.cools = f"{targets[0]} cool" in run.blocked

    @cached_property
    def claims(self) -> list[float]:
        """When jobs were claimed for the broken upstream."""
        return sorted(at for claims in self.claims_by_job.values() for at in claims)

    def moves(self, job: str) -> list[str]:
        """The reasons for the moves of a job."""
        return [event["why"] for event in self.stories.get(job, ()) if event.get("why")]


def _is_claim(event: dict[str, Any]) -> bool:
    return bool(event["event"] == "started")
