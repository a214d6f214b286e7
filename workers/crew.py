"""Who carries out what a worker claims, as its loop sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from router_core.state.claims import Delivery
from router_core.state.settling import Ending
from workers.backends.base import OnDelta
from workers.probing import Prober


class Carrier(Protocol):
    """Carries out one delivery, and says what came of it."""

    async def carry_out(self, delivery: Delivery, clock: Callable[[], float], on_delta: OnDelta | None) -> Ending: ...

    def interrupted(self, delivery: Delivery, now: float, *, by_command: bool) -> Ending: ...

    def failed(self, delivery: Delivery, why: str, now: float) -> Ending: ...


@dataclass(frozen=True, slots=True)
class Crew:
    """Who carries out what a claim brings. `troubled` is called when a settle has opened a breaker."""

    carrier: Carrier
    prober: Prober
    troubled: Callable[[], object] = lambda: None
