"""Who carries out what a worker claims, as its loop sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.workers.backends.base import OnDelta
from openfall.workers.maintenance.prober import Prober


class Executor(Protocol):
    """Carries out one delivery, and says what came of it."""

    async def carry_out(
        self, delivery: Delivery, clock: Callable[[], float], on_delta: OnDelta | None
    ) -> DeliveryOutcome: ...

    def interrupted(self, delivery: Delivery, now: float, *, by_command: bool) -> DeliveryOutcome: ...

    def failed(self, delivery: Delivery, why: str, now: float) -> DeliveryOutcome: ...


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """Who carries out what a claim brings. `troubled` is called when a settle has opened a breaker."""

    carrier: Executor
    prober: Prober
    troubled: Callable[[], object] = lambda: None
