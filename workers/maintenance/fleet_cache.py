"""What was last seen of the fleet, kept fresh beside the calls: decisions read it and wait for nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.routing.fleet_state import (
    FleetState,
)
from openfall.router_core.state.errors import StoreUnreachable
from openfall.router_core.state.fleet_snapshot import FleetSnapshot, fetch_fleet_snapshot
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import (
    Urgency,
)


@dataclass(slots=True)
class FleetCache:
    """The last survey. Before the first one everything is taken to work; `claim` knows better in any case."""

    link: RedisConnection
    catalog: Catalog
    last: FleetSnapshot | None = None
    troubled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a breaker has opened: what waits for that model should be looked at now."""

    async def since(self, moment: float) -> None:
        """See to it that the last survey is no older than a moment (epoch seconds, server clock), if Redis answers."""
        if self.last is None or self.last.now < moment:
            with suppress(StoreUnreachable):
                await self.look()

    async def look(self) -> FleetSnapshot:
        self.last = await fetch_fleet_snapshot(self.link, self.catalog)
        return self.last

    def fleet(self, urgency: Urgency) -> FleetState:
        return self.last.fleet_state(urgency) if self.last is not None else FleetState()
