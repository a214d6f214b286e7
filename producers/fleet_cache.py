"""What a producer sees of the fleet: one look, bounded in time, is good for many jobs."""

from __future__ import annotations

import asyncio
import time

from openfall.producers.request import NOTHING_SEEN, FleetView
from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.fleet_snapshot import FleetSnapshot, fetch_fleet_snapshot
from openfall.router_core.state.redis_connection import RedisConnection

LOOK_WITHIN = 1.0
"""Seconds that a look at the fleet, or a word to it, may take: without it, the configuration is better than a wait."""
FRESH = 0.5
"""Seconds for which a look is good for further jobs: a breaker that opens meanwhile is noticed by `claim` and sweep."""


async def fetch_fleet(link: RedisConnection, catalog: Catalog) -> FleetSnapshot | None:
    """The fleet as it is; None when Redis does not tell in time."""
    try:
        async with asyncio.timeout(LOOK_WITHIN):
            return await fetch_fleet_snapshot(link, catalog)
    except (StoreError, TimeoutError):
        return None


class FleetCache:
    """The last look at the fleet."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._looked = float("-inf")
        self.last = NOTHING_SEEN

    async def look(self, link: RedisConnection) -> FleetView:
        """What is so, at most `FRESH` seconds old. When Redis does not answer, all is taken to work."""
        if time.monotonic() - self._looked > FRESH:
            found = await fetch_fleet(link, self._catalog)
            self.last = FleetView(found.fleet_state, found.now) if found is not None else NOTHING_SEEN
            self._looked = time.monotonic()
        return self.last
