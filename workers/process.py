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
from dataclasses import dataclass, field
from pathlib import Path

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.errors import StoreUnreachable
from openfall.router_core.state.keys import DEGRADE
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.subscription import (
    BackendCapacity,
    QueueSubscription,
    WorkerIdentity,
    backends_for,
)
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import WakeUp, register, unregister
from openfall.router_core.vocabulary import (
    Urgency,
)
from openfall.workers.backends import health
from openfall.workers.composition import completion_worker, degrade_worker
from openfall.workers.maintenance.fleet_cache import FleetCache
from openfall.workers.maintenance.housekeeping import Housekeeping
from openfall.workers.outbox.dispatcher import OutboxSettings
from openfall.workers.spool import Spool
from openfall.workers.worker import StopMode, Worker, WorkerSettings

log = logging.getLogger("openfall.worker")

SCRIPTS = (
    "claim", "settle", "beat", "reap", "sweep", "move", "fleet_snapshot", "breaker_probe_result", "append_events",
    "finish", "adopt_rq_job", "held_release", "memory_pressure", "outbox_claim", "outbox_settle", "notice_admit",
    "incident_close",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """What one worker is to do. `backend` pins it to one backend of its pool."""

    redis_url: str
    catalog: Catalog
    pool: str
    terms: WorkerSettings
    spool: Path
    backend: str | None = None
    keep_prompts: bool = False
    memory_limit: float = 0.85
    post: OutboxSettings = field(default_factory=OutboxSettings)
    """To whom the degrade worker posts what is to be told."""
    on_ready: Callable[[], object] = lambda: None
    """Called when the worker is registered and about to make its first claim."""
    changed: Callable[[], WorkerConfig | None] | None = None
    """Called every `CHANGED_EVERY` seconds in a thread: the plan of a configuration that has changed since, or None."""


CHANGED_EVERY = 2.0
DECIDED_AT_ONCE = 64
"""Jobs that all degrade workers together decide about at once. A decision takes about a millisecond."""


class NothingToServe(ValueError):
    """The pool has no model that this worker could serve."""


def identity(plan: WorkerConfig) -> tuple[WorkerIdentity, tuple[QueueSubscription, ...]]:
    """Who the worker is and what it drains: the most urgent first, models in the catalog's order.

    Raises `UnknownName` for the pool, `NothingToServe` when no model of it is at the worker's backends.
    """
    drained = tuple(_drained(plan)) if plan.pool != DEGRADE else (_degraded(plan),)
    if not drained:
        at = f" at backend {plan.backend!r}" if plan.backend else ""
        raise NothingToServe(f"pool {plan.pool!r} has no model{at}: name one under `models:` whose backend is in it")
    backends = tuple(dict.fromkeys(seat.backend for queue in drained for seat in queue.backends))
    name = f"of-{plan.pool}-{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(3)}"
    queues = tuple(queue.queue for queue in drained)
    # What falls is in nobody's hands but ours: the degrade worker calls no model.
    local = plan.pool == DEGRADE or plan.catalog.pools[plan.pool].local
    return WorkerIdentity(name, plan.pool, queues, backends, local=local), drained


def _degraded(plan: WorkerConfig) -> QueueSubscription:
    """The queue of what fell. Its seat is no backend: it bounds how many jobs are decided about at once."""
    if plan.backend is not None:
        raise NothingToServe(f"`work {DEGRADE}` calls no backend: leave out --backend {plan.backend}")
    return QueueSubscription(DEGRADE, (BackendCapacity(DEGRADE, DECIDED_AT_ONCE),))


def _drained(plan: WorkerConfig) -> Iterator[QueueSubscription]:
    models = plan.catalog.models_of(plan.pool)
    for urgency in Urgency:
        for alias in models:
            at = tuple(backends_for(plan.catalog, alias, plan.backend))
            if at:
                probe = health.probe_timeout(plan.catalog.models[alias])
                share = plan.catalog.urgency[urgency].min_share
                yield QueueSubscription(plan.catalog.queue(alias, urgency), at, probe, share)


async def run(plan: WorkerConfig) -> None:
    """Work until a signal or rq's shutdown command. Raises a `StoreError` when Redis cannot be had at the start.

    When the configuration changes, a worker for the new one takes over: the old one claims nothing more, its calls end
    by themselves, and no job is dropped.
    """
    first = Generation(plan)
    shifts = Generations({first: asyncio.create_task(first.work(), name="shift")})
    _obey_signals(shifts)
    changes = asyncio.create_task(_follow_changes(plan, shifts), name="changes")
    try:
        while tasks := shifts.tasks:
            await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            for shift, task in [(shift, task) for shift, task in tasks.items() if task.done()]:
                del tasks[shift]
                await task  # what went wrong is for the caller
    finally:
        await cancel_all(changes)


class Generation:
    """One worker of one plan, from its start to its last settle."""

    def __init__(self, plan: WorkerConfig) -> None:
        self._plan = plan
        self._worker: Worker | None = None
        self._upkeep: Housekeeping | None = None
        self._told = StopMode.NO
        self.ready = asyncio.Event()

    def stop(self, how: StopMode) -> None:
        """See `Stop`."""
        self._told = how
        if self._worker is not None:
            self._worker.stop(how)

    def retire(self) -> None:
        """Another shift goes on: let the calls of this one end, and leave the rest of the fleet to the other."""
        if self._worker is not None and self._upkeep is not None:
            self._worker.retire()
            self._upkeep.retire()

    async def work(self) -> None:
        plan = self._plan
        who, drained = identity(plan)
        catalog = plan.catalog
        async with contextlib.AsyncExitStack() as stack:
            link = await stack.enter_async_context(RedisConnection(plan.redis_url))
            await link.load(*SCRIPTS)
            bell = WakeUp(link.url, who.queues)
            stack.push_async_callback(bell.close)
            deliveries = WorkerQueue(link, who, drained, policy=catalog.breakers, keep_prompts=plan.keep_prompts)
            watch = FleetCache(link, catalog)
            if plan.pool == DEGRADE:
                station = degrade_worker(watch, plan.post, stack)
            else:
                station = completion_worker(watch, who.backends, stack)
            worker = Worker(deliveries, bell, Spool(plan.spool), station.crew, plan.terms)
            await register(link, who)
            upkeep = Housekeeping(
                link=link, who=who, worker=worker, deliveries=deliveries, watch=watch, spool=Spool(plan.spool),
                chance=random.random, hosts=station.hosts, also=station.rounds,
                memory_limit=plan.memory_limit,
            )  # fmt: skip
            self._worker, self._upkeep = worker, upkeep
            if self._told is not StopMode.NO:
                worker.stop(self._told)
            await self._work(worker, upkeep)
            with contextlib.suppress(StoreUnreachable):
                await unregister(link, who)

    async def _work(self, worker: Worker, upkeep: Housekeeping) -> None:
        await upkeep.worker_is_here()
        log.info("%s: %d slots, %d queues", upkeep.who.name, self._plan.terms.slots, len(upkeep.who.queues))
        # What lives now lives to the end: the collector need not walk it again while jobs wait for their start.
        gc.collect()
        gc.freeze()
        upkeep.start()
        self.ready.set()
        self._plan.on_ready()
        try:
            await worker.work()
        finally:
            await upkeep.stop()


@dataclass(slots=True)
class Generations:
    """The shifts of one process: the last one claims, those before it end their calls. `told`: how all are to stop."""

    tasks: dict[Generation, asyncio.Task[None]]
    told: StopMode = StopMode.NO

    def stop(self, how: StopMode) -> None:
        """See `Stop`."""
        self.told = how
        for shift in self.tasks:
            shift.stop(how)


async def _follow_changes(plan: WorkerConfig, shifts: Generations) -> None:
    due: WorkerConfig | None = None
    while plan.changed is not None:
        await asyncio.sleep(CHANGED_EVERY)
        due = await asyncio.to_thread(plan.changed) or due
        if due is not None and shifts.told is StopMode.NO and await _take_over(due, shifts):
            due = None


async def _take_over(plan: WorkerConfig, shifts: Generations) -> bool:
    """Begin a shift by a changed configuration. False: it could not begin (its Redis is away); to be tried again."""
    shift = Generation(plan)
    task = asyncio.create_task(shift.work(), name="shift")
    ready = asyncio.create_task(shift.ready.wait())
    try:
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:  # every other shift has ended meanwhile: the process is stopping
        shift.stop(StopMode.NOW)
        await task
        raise
    finally:
        await cancel_all(ready)
    if task.done():
        log.error(
            "the changed configuration cannot be worked by yet; the one before stays in force: %s", task.exception()
        )
        return False
    old = list(shifts.tasks)
    shifts.tasks[shift] = task
    if shifts.told is not StopMode.NO:
        shift.stop(shifts.told)
    for one in old:
        one.retire()
    log.info("the changed configuration is in force")
    return True


def _obey_signals(shifts: Generations) -> None:
    stops = iter((StopMode.DRAIN, StopMode.NOW))

    def obey() -> None:
        how = next(stops, StopMode.NOW)
        log.info("stopping: %s", "calls in flight may finish" if how is StopMode.DRAIN else "putting calls back")
        shifts.stop(how)

    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, obey)
