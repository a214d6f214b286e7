"""Who carries out what a worker claims: those who call the models of a pool, or those who look after what fell."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.jobs.envelope import unpack_result
from openfall.router_core.jobs.result import Result
from openfall.router_core.routing.fleet_state import (
    FleetState,
)
from openfall.router_core.state import keys
from openfall.router_core.state.errors import StoreUnreachable
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import (
    Urgency,
)
from openfall.workers.backends.base import CompletionBackend
from openfall.workers.backends.registry import open_backend
from openfall.workers.execution.degrade_executor import DegradeExecutor
from openfall.workers.execution.executor import JobExecutor
from openfall.workers.execution.protocol import WorkerParts
from openfall.workers.maintenance.fleet_cache import FleetCache
from openfall.workers.maintenance.held_releaser import RELEASE_EVERY, HeldReleaser
from openfall.workers.maintenance.incident_closer import close_ended_incidents
from openfall.workers.maintenance.prober import Prober
from openfall.workers.outbox.dispatcher import OutboxDispatcher, OutboxSettings

POST_EVERY = 0.5
CLOSE_EVERY = 2.0

Round = tuple[float, Callable[[], Awaitable[None]]]
"""Something that repeats beside the calls, and after how many seconds."""


@dataclass(frozen=True, slots=True)
class Composition:
    """A crew, the rounds that it adds to those of every worker, and the backends that load models by themselves."""

    crew: WorkerParts
    rounds: Mapping[str, Round] = field(default_factory=dict)
    hosts: Mapping[str, CompletionBackend] = field(default_factory=dict)


def completion_worker(watch: FleetCache, names: tuple[str, ...], stack: contextlib.AsyncExitStack) -> Composition:
    """Those who call the models at these backends; `stack` closes what they open."""
    catalog = watch.catalog
    backends = {name: open_backend(catalog.backends[name]) for name in names}
    for backend in backends.values():
        stack.push_async_callback(backend.close)
    crew = WorkerParts(
        JobExecutor(catalog=catalog, backends=backends, fleet=watch.fleet, chance=random.random),
        Prober(link=watch.link, catalog=catalog, backends=backends, chance=random.random),
        watch.troubled.set,
    )
    return Composition(crew, hosts=_hosts(catalog, backends))


def degrade_worker(watch: FleetCache, terms: OutboxSettings, stack: contextlib.AsyncExitStack) -> Composition:
    """Those who look after what fell: degrade, log, notify, hold; let it go again; and post what is to be told."""

    async def last_result(key: str) -> Result | None:
        return await _last_result(watch.link, key)

    async def fleet(urgency: Urgency, since: float) -> FleetState:
        await watch.since(since)  # what was seen before its fall says that all is well, and would hold that against it
        return watch.fleet(urgency)

    async def close_incidents() -> None:
        if watch.last is not None:
            await close_ended_incidents(watch.link, watch.last)

    link, catalog = watch.link, watch.catalog
    dispatcher = OutboxDispatcher(link, terms, random.random)
    stack.push_async_callback(dispatcher.close)
    carrier = DegradeExecutor(catalog=catalog, fleet=fleet, last_result=last_result, notify=terms.notifiers)
    prober = Prober(link=link, catalog=catalog, backends={}, chance=random.random)
    rounds: dict[str, Round] = {
        "release": (RELEASE_EVERY, HeldReleaser(link, watch).round),
        "outbox": (POST_EVERY, dispatcher.dispatch),
        "closing": (CLOSE_EVERY, close_incidents),
    }
    return Composition(WorkerParts(carrier, prober, watch.troubled.set), rounds)


async def _last_result(link: RedisConnection, key: str) -> Result | None:
    try:
        told = await link.command("GET", keys.LAST_ANSWER + key)
    except StoreUnreachable:  # no fault of the job's: the next remedy of its list will do
        return None
    return None if told is None else unpack_result("", told)


def _hosts(catalog: Catalog, backends: Mapping[str, CompletionBackend]) -> dict[str, CompletionBackend]:
    return {name: backend for name, backend in backends.items() if catalog.backends[name].protocol == "ollama"}
