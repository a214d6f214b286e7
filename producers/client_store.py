"""A client's access to Redis: its connections, and its view of the fleet."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from openfall.config import NoRedis, Settings, redis_server
from openfall.producers.after_fork import keep_in_children
from openfall.producers.checked_jobs import CheckedJobStore
from openfall.producers.errors import ClientClosed
from openfall.producers.job_request import UNKNOWN_FLEET, FleetView
from openfall.router_core.catalog.budget_scope import all_budgets
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.errors import InvalidOperation
from openfall.router_core.state.budget_book import list_budgets, spent_budgets
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.errors import StoreError, StoreFull, StoreRefused, StoreUnreachable
from openfall.router_core.state.fleet_snapshot import FleetSnapshot, fetch_fleet_snapshot
from openfall.router_core.state.job_events import EventHub
from openfall.router_core.state.jobs import JobStore
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.server_clock import fetch_server_time
from openfall.router_core.state.subscription_plans import list_plans, scarce_models

REDIS_TIMEOUT_SECONDS = 1.0
"""Limit for reading the fleet's state, and for reporting a call. After it the configuration alone decides."""
FLEET_TTL_SECONDS = 0.5
"""How long one snapshot serves further jobs. `claim` and the sweeper notice a breaker that opens in between."""
IDLE_AFTER_SECONDS, IDLE_TTL_SECONDS = 10.0, 1.5
"""After this time without a job, the fleet is read in the background at this longer interval."""
KEPT_TTL_SECONDS = 2 * (FLEET_TTL_SECONDS + REDIS_TIMEOUT_SECONDS)
"""How long a snapshot serves if another is read in the background: the next may take its time."""
OUTAGE_POLL_SECONDS = 0.5
"""Pause between attempts of a reader while Redis does not answer."""
PRIMARY_CHECK_SECONDS = 10.0
"""How often a client that only reads, because it waits, asks whether its server still takes writes."""
UNREACHABLE = (StoreUnreachable, NoRedis)
"""Redis does not answer, or `openfall up` has not started it yet."""

_WRITES_NOTHING = "#!lua\nreturn 1"
"""A server that takes no writes refuses it: it does not say that it only reads."""

T = TypeVar("T")


async def try_redis(step: Awaitable[T]) -> T | None:
    """The result of a step; None when Redis does not answer within `REDIS_TIMEOUT_SECONDS`."""
    try:
        async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
            return await step
    except (StoreError, TimeoutError):
        return None


async def check_writes(connection: RedisConnection) -> None:
    """Raise a `StoreError` if the server takes no writes: it is a replica, or its memory or its disk is full."""
    with suppress(StoreRefused):  # a user without the right
        await connection.command("EVAL", _WRITES_NOTHING, 0)


async def fetch_fleet(connection: RedisConnection | None, catalog: Catalog) -> FleetSnapshot | None:
    """The current state of the fleet and of its budgets; None when Redis does not answer in time."""
    return None if connection is None else await try_redis(_fetch_with_budgets(connection, catalog))


async def _fetch_with_budgets(connection: RedisConnection, catalog: Catalog) -> FleetSnapshot:
    snapshot, budgets = await fetch_fleet_snapshot(connection, catalog), all_budgets(catalog)
    if not budgets and not any(spec.plan_windows for spec in catalog.backends.values()):
        return snapshot
    states = await list_budgets(connection, budgets, snapshot.now, forecasts=False)
    scarce = scarce_models(await list_plans(connection, catalog, snapshot.now), catalog)
    fleet_states = {
        urgency: replace(fleet, spent=spent_budgets(states, urgency), scarce=scarce)
        for urgency, fleet in snapshot.fleet_states.items()
    }
    return replace(snapshot, fleet_states=fleet_states)


class ClientStore:
    """Opens each connection when it is first used, in one event loop. `find_redis` returns the Redis, `catalog_name` is
    what messages call the configuration.

    After `close` every access raises `ClientClosed`.
    """

    def __init__(self, find_redis: Callable[[], RedisServer], catalog: Catalog, catalog_name: str) -> None:
        self._find_redis, self._catalog, self._catalog_name = find_redis, catalog, catalog_name
        self._closed = False
        self._connection: RedisConnection | None = None
        self._jobs: JobStore | None = None
        self._events: EventHub | None = None
        self._fleet = UNKNOWN_FLEET
        self._fetched_at = self._used_at = float("-inf")
        self._refresher: asyncio.Task[None] | None = None
        self._wrote_at = time.monotonic()
        """When the server was seen to take writes."""
        self.away_since: float | None = None
        """When a reading of the fleet failed first, in epoch seconds; None: the last one did not."""

    @property
    def connection(self) -> RedisConnection:
        """The connection for all commands. Raises `NoRedis`."""
        self._check_open()
        if self._connection is None:
            self._connection = RedisConnection(self._find_redis())
        return self._connection

    async def connect(self) -> RedisConnection:
        """The connection, for `retry`. Raises `NoRedis`."""
        return self.connection

    def try_connection(self) -> RedisConnection | None:
        """The connection; None: the address of Redis is not known."""
        try:
            return self.connection
        except NoRedis:
            return None

    @property
    def events(self) -> EventHub:
        """The one subscription that all waits share."""
        self._check_open()
        if self._events is None:
            self._events = EventHub(self._find_redis())
        return self._events

    @property
    def jobs(self) -> JobStore:
        link = self.connection
        if self._jobs is None:
            self._jobs = CheckedJobStore(link, self._catalog, self._catalog_name)
        return self._jobs

    async def fleet(self) -> FleetView:
        """The fleet's state, at most `FLEET_TTL_SECONDS` old, or `KEPT_TTL_SECONDS` while it is kept fresh. While Redis
        does not answer, every model counts as available."""
        self._used_at = time.monotonic()
        ttl = FLEET_TTL_SECONDS if self._refresher is None else KEPT_TTL_SECONDS
        if self._used_at - self._fetched_at > ttl:
            await self._fetch_fleet()
        return self._fleet

    def keep_fleet_fresh(self) -> None:
        """Read the fleet's state in the background until `close`, so that no request waits for it. For a process that
        lives in this event loop: it costs Redis two snapshots a second, and fewer while no job arrives."""
        if self._refresher is None:
            self._refresher = asyncio.create_task(self._keep_fleet_fresh(), name="fleet-snapshot")

    async def _keep_fleet_fresh(self) -> None:
        while True:
            await self._fetch_fleet()
            is_idle = time.monotonic() - self._used_at > IDLE_AFTER_SECONDS
            await asyncio.sleep(IDLE_TTL_SECONDS if is_idle else FLEET_TTL_SECONDS)

    async def _fetch_fleet(self) -> None:
        snapshot = await fetch_fleet(self.try_connection(), self._catalog)
        self._fleet = FleetView(snapshot.fleet_state, snapshot.now) if snapshot is not None else UNKNOWN_FLEET
        self._fetched_at = time.monotonic()
        self.away_since = None if snapshot is not None else self.away_since or time.time()

    def use_catalog(self, catalog: Catalog) -> None:
        """Read the fleet by a changed catalog, and compare it with those of the workers before the next job."""
        self._catalog, self._jobs, self._fetched_at = catalog, None, float("-inf")

    async def ping(self) -> None:
        """Return when Redis answers. Raises a `StoreError` at once when it does not."""
        await self.connection.command("PING")

    async def check_primary(self) -> None:
        """Raise `StoreUnreachable` if the server takes no writes any more, at most once in `PRIMARY_CHECK_SECONDS`. A
        read would not tell, and what a former primary has is out of date. The next connection may lead to another."""
        if time.monotonic() - self._wrote_at < PRIMARY_CHECK_SECONDS:
            return
        self._wrote_at = time.monotonic()
        with suppress(StoreFull):  # answers come all the same
            await check_writes(self.connection)

    async def server_time(self) -> float:
        """Epoch seconds on the server's clock."""
        return await fetch_server_time(self.connection)

    async def close(self) -> None:
        self._closed = True
        await cancel_all(self._refresher)
        events, self._events = self._events, None
        connection, self._connection, self._jobs = self._connection, None, None
        if events is not None:
            await events.close()
        if connection is not None:
            await connection.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed


class ClientStores:
    """One `ClientStore` for each event loop and process in which a client is used.

    A connection belongs to the loop that opened it. What a process inherits by a fork is neither used nor closed: its
    parent uses it.
    """

    def __init__(self, find_redis: Callable[[], RedisServer], catalog: Catalog, catalog_name: str) -> None:
        self._find_redis, self._catalog, self._catalog_name = find_redis, catalog, catalog_name
        self._stores: dict[tuple[int, asyncio.AbstractEventLoop], ClientStore] = {}
        self._closed = False
        keep_in_children(self)

    def current(self) -> ClientStore:
        """The store of the running loop. Raises `ClientClosed`, and `InvalidOperation` without a running loop."""
        if self._closed:
            raise ClientClosed
        try:
            key = os.getpid(), asyncio.get_running_loop()
        except RuntimeError:
            raise InvalidOperation(
                "AsyncOpenfall works in a coroutine of a running asyncio loop. In plain code, and in a process that "
                "was forked within a coroutine, use Openfall, or start a loop with asyncio.run. In trio, "
                "call Openfall by trio.to_thread.run_sync"
            ) from None
        store = self._stores.get(key)
        if store is None:
            self._forget_ended_loops()
            store = self._stores.setdefault(key, ClientStore(self._find_redis, self._catalog, self._catalog_name))
        return store

    async def close(self) -> None:
        """Close the connections of every loop of this process. Other loops close theirs on their own time."""
        self._closed = True
        for key, store in list(self._stores.items()):
            process, loop = key
            if process != os.getpid():
                continue
            del self._stores[key]
            if loop is asyncio.get_running_loop():
                await store.close()
            elif loop.is_running():
                asyncio.run_coroutine_threadsafe(store.close(), loop)

    def _forget_ended_loops(self) -> None:
        for process, loop in list(self._stores):
            if process == os.getpid() and loop.is_closed():
                self._stores.pop((process, loop), None)


def find_redis(given: RedisServer | str | None, settings: Settings) -> RedisServer:
    """The Redis of the arguments, else of the configuration. Raises `NoRedis`."""
    if given is None or given == "":
        return redis_server(settings)
    return given if isinstance(given, RedisServer) else settings.redis.at(given)
