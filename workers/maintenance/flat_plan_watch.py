"""Notices of flat plans that are out: a subscription takes no calls, and metered models answer in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.degrading.incident_end import FLAT_PLAN_QUIET_SECONDS
from openfall.router_core.routing.fleet_state import Blocked
from openfall.router_core.state.fleet_snapshot import FleetSnapshot
from openfall.router_core.state.incidents import observe_incident
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import FLAT_PLAN, BlockReason

RATE_LIMITED_SECONDS = 30.0
"""A plan that limits the rate is out if the limit lasts for this time: a burst of calls is no news."""


@dataclass(slots=True)
class FlatPlanWatch:
    """Watches the flat-rate backends of a catalog. `notify` lists the notifiers of incidents."""

    link: RedisConnection
    catalog: Catalog
    notify: Sequence[str] = ()
    _limited: dict[str, tuple[float, float]] = field(default_factory=dict, init=False)
    """By backend: since when it limits the rate, and when it last did."""

    async def watch(self, snapshot: FleetSnapshot) -> None:
        """Open the incident of the plans that are out, or keep it open."""
        blocks = {
            (alias, backend.name): backend.blocked
            for alias, backends in snapshot.backends.items()
            for backend in backends
            if backend.blocked is not None and self.catalog.billing(backend.name) is Billing.FLAT
        }
        out = [key for key, blocked in blocks.items() if self._is_out(key[1], blocked, snapshot.now)]
        if out:
            models = [f"m:{alias}@{backend}" for alias, backend in out]
            causes = [f"c:{blocks[key].error_class}" for key in out]
            await observe_incident(self.link, FLAT_PLAN, [*models, *dict.fromkeys(causes)], self.notify)

    def _is_out(self, backend: str, blocked: Blocked, now: float) -> bool:
        if blocked.reason is BlockReason.CREDENTIAL:
            return True
        if blocked.reason is not BlockReason.COOLDOWN:
            return False
        since, last = self._limited.get(backend, (now, now))
        if now - last > FLAT_PLAN_QUIET_SECONDS:
            since = now
        self._limited[backend] = (since, now)
        return max(now, blocked.until) - since >= RATE_LIMITED_SECONDS
