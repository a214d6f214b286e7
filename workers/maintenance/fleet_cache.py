"""Keeps the last snapshot of the fleet, so that decisions need no round trip to Redis."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.state.errors import StoreUnreachable
from openfall.router_core.state.fleet_snapshot import FleetSnapshot, fetch_fleet_snapshot
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import Urgency


@dataclass(slots=True)
class FleetCache:
    """The last snapshot. Before the first one every model is assumed to work; a claim corrects that anyway."""

    link: RedisConnection
    catalog: Catalog
    snapshot: FleetSnapshot | None = None
    breaker_opened: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a breaker has opened: the sweep should look after the jobs of its model now."""
    model_loaded: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a model has answered that was not in memory by the last report."""
    outdated: set[str] = field(default_factory=set)
    """The backends of such models."""

    async def refresh_at_least(self, timestamp: float) -> None:
        """Make the snapshot no older than a time (epoch seconds, server clock), if Redis answers."""
        if self.snapshot is None or self.snapshot.now < timestamp:
            with suppress(StoreUnreachable):
                await self.refresh()

    async def refresh(self) -> FleetSnapshot:
        """Fetch a new snapshot."""
        self.snapshot = await fetch_fleet_snapshot(self.link, self.catalog)
        return self.snapshot

    def note_answer(self, backend: str, model: str) -> None:
        """A model has answered, so it is in memory: a report without it is outdated."""
        reported = None if self.snapshot is None else self.snapshot.loaded.get(backend)
        if reported is not None and self.catalog.models[model].upstream not in reported:
            self.outdated.add(backend)
            self.model_loaded.set()

    def fleet_state(self, urgency: Urgency) -> FleetState:
        """The fleet as a job of this urgency sees it."""
        return self.snapshot.fleet_state(urgency) if self.snapshot is not None else FleetState()
