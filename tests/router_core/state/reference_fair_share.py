"""Who is claimed next, with nothing but numbers: slots, reserved slots, and a share for each urgency."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

from openfall.router_core.state.worker_queue import CREDIT_INTERVAL_JOBS

URGENCIES = ("interactive", "background", "batch")
MOST_CREDIT = 8000
"""Thousandths of a job."""


@dataclass
class Plain:
    """One backend, one worker, one queue for each urgency; how many wait in each, and how many are in flight."""

    slots: int
    reserved: int
    shares: dict[str, int]
    waiting: dict[str, int] = field(default_factory=lambda: dict.fromkeys(URGENCIES, 0))
    running: dict[str, int] = field(default_factory=lambda: dict.fromkeys(URGENCIES, 0))
    credit: dict[str, int] = field(default_factory=lambda: dict.fromkeys(URGENCIES, 0))
    since: int = 0

    def room(self, urgency: str) -> int:
        free = self.slots - sum(self.running.values())
        others = self.running["background"] + self.running["batch"]
        return free if urgency == "interactive" else min(free, self.slots - self.reserved - others)

    def take(self, urgency: str, most: int) -> list[str]:
        count = max(0, min(most, self.waiting[urgency], self.room(urgency)))
        self.waiting[urgency] -= count
        self.running[urgency] += count
        return [urgency] * count

    def claim(self, want: int) -> list[str]:
        """The urgencies of the jobs that a claim brings, in their order."""
        took: dict[str, list[str]] = {}
        for urgency in URGENCIES:
            ahead = self.credit[urgency] // 1000
            if ahead and not self.waiting[urgency]:
                self.credit[urgency] = 0
            took[urgency] = self.take(urgency, min(ahead, want - sum(map(len, took.values()))))
            self.credit[urgency] -= 1000 * len(took[urgency])
        in_turn = list(chain(*took.values()))
        brought: list[str] = []
        for urgency in URGENCIES:
            brought += self.take(urgency, want - len(in_turn) - len(brought))
        self.account(took, brought)
        return in_turn + brought

    def account(self, took: dict[str, list[str]], brought: list[str]) -> None:
        self.since += sum(map(len, took.values())) + len(brought)
        if self.since < CREDIT_INTERVAL_JOBS:
            return
        for place, urgency in enumerate(URGENCIES):
            others_in_turn = any(took[other] for other in URGENCIES if other != urgency)
            behind = others_in_turn or any(URGENCIES.index(waiting_urgency) < place for waiting_urgency in brought)
            if self.shares.get(urgency) and (took[urgency] or (behind and self.waiting[urgency])):
                self.credit[urgency] = min(MOST_CREDIT, self.credit[urgency] + self.shares[urgency] * self.since)
        self.since = 0

    def end(self, urgency: str) -> None:
        self.running[urgency] -= 1
