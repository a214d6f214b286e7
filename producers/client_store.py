"""A client's access to Redis: its connections, and its view of the fleet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

from openfall.producers.request import UNKNOWN_FLEET, FleetView
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.fleet_snapshot import FleetSnapshot, fetch_fleet_snapshot
from openfall.router_core.state.job_events import EventHub
from openfall.router_core.state.jobs import JobStore
from openfall.router_core.state.redis_connection import RedisConnection

REDIS_TIMEOUT_SECONDS = 1.0
"""Limit for reading the fleet's state, and for reporting a call. After it the configuration alone decides."""
FLEET_TTL_SECONDS = 0.5
"""How long one snapshot serves further jobs. `claim` and the sweeper notice a breaker that opens in between."""
OUTAGE_POLL_SECONDS = 0.5
"""Pause between attempts of a reader while Redis does not answer."""


T = TypeVar("T")


async def try_redis(step: Awaitable[T]) -> T | None:
    """The result of a step; None when Redis does not answer within `REDIS_TIMEOUT_SECONDS`."""
    try:
        async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
            return await step
    except (StoreError, TimeoutError):
        return None


async def fetch_fleet(connection: RedisConnection, catalog: Catalog) -> FleetSnapshot | None:
    """The current state of the fleet; None when Redis does not answer in time."""
    return await try_redis(fetch_fleet_snapshot(connection, catalog))


class ClientStore:
    """Opens each connection when it is first used. Not for two event loops."""

    def __init__(self, redis_url: str, catalog: Catalog) -> None:
        self._redis_url, self._catalog = redis_url, catalog
        self._connection: RedisConnection | None = None
        self._events: EventHub | None = None
        self._fleet = UNKNOWN_FLEET
        self._fetched_at = float("-inf")

    @property
    def connection(self) -> RedisConnection:
        """The connection for all commands."""
        if self._connection is None:
            self._connection = RedisConnection(self._redis_url)
        return self._connection

    @property
    def events(self) -> EventHub:
        """The one subscription that all waits share."""
        if self._events is None:
            self._events = EventHub(self._redis_url)
        return self._events

    @property
    def jobs(self) -> JobStore:
        return JobStore(self.connection)

    async def fleet(self) -> FleetView:
        """The fleet's state, at most `FLEET_TTL_SECONDS` old. While Redis does not answer, every model counts as
        available."""
        if time.monotonic() - self._fetched_at > FLEET_TTL_SECONDS:
            snapshot = await fetch_fleet(self.connection, self._catalog)
            self._fleet = FleetView(snapshot.fleet_state, snapshot.now) if snapshot is not None else UNKNOWN_FLEET
            self._fetched_at = time.monotonic()
        return self._fleet

    async def ping(self) -> None:
        """Return when Redis answers. Raises a `StoreError` at once when it does not."""
        await self.connection.command("PING")

    async def server_time(self) -> float:
        """Epoch seconds on the server's clock."""
        seconds, micros = await self.connection.command("TIME")
        return int(seconds) + int(micros) / 1e6

    async def close(self) -> None:
        events, self._events = self._events, None
        connection, self._connection = self._connection, None
        if events is not None:
            await events.close()
        if connection is not None:
            await connection.close()
