"""One worker process, from its configuration to its last settle."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from router_core.catalog import Catalog
from router_core.job import Urgency
from router_core.state.delivery import Deliveries, Drained, Identity
from router_core.state.errors import StoreUnreachable
from router_core.state.link import Link
from router_core.state.presence import Bell, register, unregister
from router_core.state.tasks import stop
from workers.attempt import Carrier
from workers.backends.registry import open_backend
from workers.spool import Spool
from workers.upkeep import Upkeep
from workers.worker import Stop, Terms, Worker

log = logging.getLogger("openfall.worker")

SCRIPTS = ("claim", "settle", "beat", "reap", "sweep", "emit", "finish", "ticket")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one worker is to do. `backend` pins it to one backend of its pool."""

    redis_url: str
    catalog: Catalog
    pool: str
    terms: Terms
    spool: Path
    backend: str | None = None
    keep_prompts: bool = False
    on_ready: Callable[[], object] = lambda: None
    """Called when the worker is registered and about to make its first claim."""


class NothingToServe(ValueError):
    """The pool has no model that this worker could serve."""


def identity(plan: Plan) -> tuple[Identity, tuple[Drained, ...]]:
    """Who the worker is and what it drains: the most urgent first, models in the catalog's order.

    Raises `UnknownName` for the pool, `NothingToServe` when no model of it is at the worker's backends.
    """
    drained = tuple(_drained(plan))
    if not drained:
        at = f" at backend {plan.backend!r}" if plan.backend else ""
        raise NothingToServe(f"pool {plan.pool!r} has no model{at}: name one under `models:` whose backend is in it")
    backends = tuple(dict.fromkeys(name for queue in drained for name, _ in queue.backends))
    name = f"of-{plan.pool}-{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(3)}"
    return Identity(name, plan.pool, tuple(queue.queue for queue in drained), backends), drained


def _drained(plan: Plan) -> Iterator[Drained]:
    models = plan.catalog.models_of(plan.pool)
    for urgency in Urgency:
        for alias in models:
            at = [name for name in plan.catalog.models[alias].at if plan.backend in (None, name)]
            if at:
                slots = tuple((name, plan.catalog.backends[name].slots) for name in at)
                yield Drained(plan.catalog.queue(alias, urgency), slots)


async def run(plan: Plan) -> None:
    """Work until a signal or rq's shutdown command. Raises a `StoreError` when Redis cannot be had at the start."""
    who, drained = identity(plan)
    async with contextlib.AsyncExitStack() as stack:
        link = await stack.enter_async_context(Link(plan.redis_url))
        await link.load(*SCRIPTS)
        bell = Bell(link.url, who.queues)
        stack.push_async_callback(bell.close)
        backends = {name: open_backend(plan.catalog.backends[name]) for name in who.backends}
        for backend in backends.values():
            stack.push_async_callback(backend.close)
        deliveries = Deliveries(link, who, drained, keep_prompts=plan.keep_prompts)
        carrier = Carrier(catalog=plan.catalog, backends=backends)
        worker = Worker(deliveries, carrier, bell, Spool(plan.spool), plan.terms)
        _obey_signals(worker)
        await register(link, who)
        upkeep = Upkeep(
            link=link, who=who, worker=worker, deliveries=deliveries, spool=Spool(plan.spool), chance=random.random
        )
        await _work(worker, upkeep, plan)
        with contextlib.suppress(StoreUnreachable):
            await unregister(link, who)


async def _work(worker: Worker, upkeep: Upkeep, plan: Plan) -> None:
    await upkeep.worker_is_here()
    log.info("%s: %d slots, %d queues", upkeep.who.name, plan.terms.slots, len(upkeep.who.queues))
    # What lives now lives to the end: the collector need not walk it again while jobs wait for their start.
    gc.collect()
    gc.freeze()
    rounds = upkeep.start()
    plan.on_ready()
    try:
        await worker.work()
    finally:
        await stop(*rounds)


def _obey_signals(worker: Worker) -> None:
    stops = iter((Stop.DRAIN, Stop.NOW))

    def stop() -> None:
        how = next(stops, Stop.NOW)
        log.info("stopping: %s", "calls in flight may finish" if how is Stop.DRAIN else "putting calls back")
        worker.stop(how)

    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop)
