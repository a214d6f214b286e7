"""The requests and the kills of a run at the HTTP gateway, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

KINDS = {
    "chat": 20, "chat_stream": 20, "message": 8, "message_stream": 8, "response": 10, "response_stream": 8,
    "background": 8, "background_stream": 10, "short_wait": 5, "leave_and_repeat": 3,
}  # fmt: skip
"""What a client does, and its share of every hundred requests. Of 50 one leaves a slow answer for good."""
LEAVING = ("leave_early", "leave_late")
FAULTS_EVERY_SECONDS = {"gateway": 11.0, "client": 13.0, "worker": 17.0, "restart": 29.0, "freeze": 90.0}
FROZEN_SECONDS = 20.0
"""A gateway stands still for longer than a lease of a caller."""
LEAST = {"gateway": 2, "freeze": 0}
"""The number of these faults in a small run; it has one of each other."""
AWAY_SECONDS = 5.0
"""How long the upstream is away: its jobs fall and are held."""


@dataclass(frozen=True)
class GatewayPlan:
    """The size and the seed of a run."""

    requests: int
    seed: int
    gateways: int = 2
    clients: int = 3
    workers: int = 3
    per_second: float = 32.0

    @property
    def seconds(self) -> float:
        """About how long the clients send."""
        return max(12.0, self.requests / self.per_second)

    def plans(self) -> list[dict[str, str]]:
        """Every request, in the order of sending."""
        draw = random.Random(self.seed)
        kinds, weights = list(KINDS), list(KINDS.values())
        return [
            {"id": f"r{number:06}", "kind": self._leaving(number) or draw.choices(kinds, weights)[0]}
            for number in range(self.requests)
        ]

    def _leaving(self, number: int) -> str:
        return LEAVING[number // 50 % len(LEAVING)] if number % 50 == 7 else ""

    def faults(self) -> list[tuple[float, str]]:
        """Each fault with its moment, in seconds since the first request, in order."""
        return sorted(self._faults(random.Random(self.seed + 1)))

    def _faults(self, draw: random.Random) -> Iterator[tuple[float, str]]:
        for kind, every in FAULTS_EVERY_SECONDS.items():
            count = max(LEAST.get(kind, 1), round(self.seconds / every))
            for number in range(count):
                yield draw.uniform(number + 0.1, number + 0.9) * self.seconds / count, kind
        outages = max(1, round(self.seconds / 120))
        for number in range(outages):
            at = (number + draw.uniform(0.3, 0.6)) * self.seconds / outages
            yield at, "upstream-away"
            yield at + AWAY_SECONDS * 0.6, "gateway"
            yield at + AWAY_SECONDS * 0.7, "client"
