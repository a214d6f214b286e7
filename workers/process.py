"""One worker process, from its configuration to its last settlement."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from openfall.router_core.catalog.budget_scope import all_budgets
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.digest import catalog_digest
from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.redis_preconditions import ServerTerms
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.errors import StoreUnreachable
from openfall.router_core.state.keys import DEGRADE
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.rights import WORKER_SCRIPTS
from openfall.router_core.state.subscription import BackendCapacity, QueueSubscription, WorkerIdentity, backends_for
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import WakeUp, register, unregister
from openfall.router_core.vocabulary import Urgency
from openfall.workers.backends import health
from openfall.workers.composition import completion_worker, degrade_worker
from openfall.workers.maintenance.fleet_cache import FleetCache
from openfall.workers.maintenance.housekeeping import Housekeeping, PeriodicTask
from openfall.workers.maintenance.server_watch import SERVER_CHECK_INTERVAL_SECONDS, ServerWatch
from openfall.workers.outbox.outbox_settings import OutboxSettings
from openfall.workers.service_manager import ServiceManager
from openfall.workers.settler import Settler
from openfall.workers.spool import Spool
from openfall.workers.stop_signals import handle_stop_signals
from openfall.workers.worker import StopMode, Worker, WorkerSettings

log = logging.getLogger("openfall.worker")

RELOAD_INTERVAL_SECONDS = 2.0

MAX_CONCURRENT_DECISIONS = 64
"""Fallen jobs that all degrade workers together decide about at a time. A decision takes about a millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """The configuration of one worker. `backend` limits it to one backend of its pool; `outbox` is for the degrade
    worker."""

    redis: RedisServer
    catalog: Catalog
    pool: str
    settings: WorkerSettings
    spool: Path
    backend: str | None = None
    keep_prompts: bool = False
    server_terms: ServerTerms = field(default_factory=ServerTerms)
    outbox: OutboxSettings = field(default_factory=OutboxSettings)
    manager: ServiceManager = field(default_factory=ServiceManager)
    """Learns when the worker is registered and about to make its first claim, that it turns, and that it stops."""
    reload: Callable[[], WorkerConfig | None] | None = None
    """Called every `RELOAD_INTERVAL_SECONDS` in a thread. Returns the new configuration after a change, else None."""


class NothingToServe(ValueError):
    """The pool has no model that this worker could serve."""


def identify(config: WorkerConfig) -> tuple[WorkerIdentity, tuple[QueueSubscription, ...]]:
    """The worker's identity and the queues that it drains: the most urgent first, models in the catalog's order.

    Raises `UnknownName` for the pool, `NothingToServe` when no model of it is at the worker's backends.
    """
    queues = tuple(_subscribe_models(config)) if config.pool != DEGRADE else (_subscribe_degrade(config),)
    if not queues:
        at = f" at backend {config.backend!r}" if config.backend else ""
        raise NothingToServe(f"pool {config.pool!r} has no model{at}: add one under `models:` whose backend is in it")
    backends = tuple(dict.fromkeys(capacity.name for queue in queues for capacity in queue.backends))
    name = f"of-{config.pool}-{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(3)}"
    # The degrade worker calls no model, so nothing leaves the local pools through it.
    local = config.pool == DEGRADE or config.catalog.pools[config.pool].local
    names, digest = tuple(queue.queue for queue in queues), catalog_digest(config.catalog)
    return WorkerIdentity(name, config.pool, names, backends, local=local, catalog=digest), queues


def _subscribe_degrade(config: WorkerConfig) -> QueueSubscription:
    """The queue of fallen jobs. Its capacity belongs to no backend: it limits concurrent decisions."""
    if config.backend is not None:
        raise NothingToServe(f"`work {DEGRADE}` calls no backend: omit --backend {config.backend}")
    return QueueSubscription(DEGRADE, (BackendCapacity(DEGRADE, MAX_CONCURRENT_DECISIONS),))


def _subscribe_models(config: WorkerConfig) -> Iterator[QueueSubscription]:
    catalog = config.catalog
    models = catalog.models_of(config.pool)
    for urgency in Urgency:
        for alias in models:
            backends = tuple(backends_for(catalog, alias, config.backend))
            if backends:
                probe_timeout = health.probe_timeout(catalog.models[alias])
                min_share = catalog.urgency[urgency].min_share
                yield QueueSubscription(catalog.queue(alias, urgency), backends, probe_timeout, min_share)


async def run(config: WorkerConfig) -> None:
    """Work until a signal or rq's shutdown command. Raises a `StoreError` when Redis is unreachable at the start, or
    would not keep accepted jobs.

    When the configuration changes, a new worker takes over: the old one stops claiming, its calls end by themselves,
    and no job is dropped.
    """
    first, manager = Generation(config), config.manager
    generations = Generations({first: asyncio.create_task(first.work(), name="worker")})
    _handle_signals(generations, config)
    reloads = asyncio.create_task(_reload(config, generations), name="reload")
    watchdog = asyncio.create_task(manager.stay_alive(lambda: generations.turn(manager)), name="watchdog")
    try:
        while tasks := generations.tasks:
            await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            for generation, task in [(generation, task) for generation, task in tasks.items() if task.done()]:
                del tasks[generation]
                await task  # raises its error
    finally:
        await cancel_all(reloads, watchdog)


def _worker_queue(
    link: RedisConnection, identity: WorkerIdentity, queues: tuple[QueueSubscription, ...], config: WorkerConfig
) -> WorkerQueue:
    catalog = config.catalog
    return WorkerQueue(
        link, identity, queues, policy=catalog.breakers, keep_prompts=config.keep_prompts, budgets=all_budgets(catalog)
    )


class Generation:
    """A worker with one configuration, from its start to its last settlement."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._worker: Worker | None = None
        self._housekeeping: Housekeeping | None = None
        self._stop_mode = StopMode.NO
        self.ready = asyncio.Event()

    def stop(self, mode: StopMode) -> None:
        """See `StopMode`."""
        self._stop_mode = mode
        if self._worker is not None:
            self._worker.stop(mode)

    def turns(self, within_seconds: float) -> bool:
        """Whether its loop turned within that time. One that still starts counts as turning."""
        return self._worker is None or time.monotonic() - self._worker.turned_at < within_seconds

    def drain(self) -> None:
        """Let the calls in flight end, and leave everything else to the next generation."""
        if self._worker is not None and self._housekeeping is not None:
            self._worker.drain()
            self._housekeeping.drain()

    async def work(self) -> None:
        """Work until stopped or drained."""
        config, catalog = self._config, self._config.catalog
        identity, queues = identify(config)
        async with contextlib.AsyncExitStack() as stack:
            link = await stack.enter_async_context(RedisConnection(config.redis))
            watch = ServerWatch(link, config.server_terms)
            await watch.require()
            await link.load(*WORKER_SCRIPTS)
            wakeup = WakeUp(link.server, identity.queues)
            stack.push_async_callback(wakeup.close)
            queue = _worker_queue(link, identity, queues, config)
            fleet_cache, spool = FleetCache(link, catalog), Spool(config.spool)
            if torn := await asyncio.to_thread(spool.remove_drafts):
                log.warning("%s: %d torn drafts removed", config.spool, torn)
            if config.pool == DEGRADE:
                parts = degrade_worker(fleet_cache, config.outbox, stack)
            else:
                parts = completion_worker(fleet_cache, identity, stack)
            worker = Worker(
                queue=queue, wakeup=wakeup, settler=Settler(queue, spool, fleet_cache.breaker_opened.set),
                executor=parts.executor, prober=parts.prober, settings=config.settings,
            )  # fmt: skip
            housekeeping = Housekeeping(
                link=link, identity=identity, worker=worker, queue=queue, fleet_cache=fleet_cache, spool=spool,
                jitter=random.random, loading_backends=parts.loading_backends,
                extra_tasks=(*parts.tasks, PeriodicTask("server", SERVER_CHECK_INTERVAL_SECONDS, watch.look)),
                max_memory=config.server_terms.max_memory_share,
            )  # fmt: skip
            await register(link, identity)
            self._worker, self._housekeeping = worker, housekeeping
            if self._stop_mode is not StopMode.NO:
                worker.stop(self._stop_mode)
            await self._work(worker, housekeeping)
            with contextlib.suppress(StoreUnreachable):
                await unregister(link, identity)

    async def _work(self, worker: Worker, housekeeping: Housekeeping) -> None:
        await housekeeping.beat()
        identity = housekeeping.identity
        log.info("%s: slots: %d, queues: %d", identity.name, self._config.settings.slots, len(identity.queues))
        # Objects that exist now live to the end: the collector need not scan them while jobs wait for their start.
        gc.collect()
        gc.freeze()
        housekeeping.start()
        self.ready.set()
        self._config.manager.ready(f"{identity.name}: slots: {self._config.settings.slots}")
        try:
            await worker.work()
        finally:
            await housekeeping.stop()


@dataclass(slots=True)
class Generations:
    """The generations of one process: the last one claims, the earlier ones finish their calls."""

    tasks: dict[Generation, asyncio.Task[None]]
    stop_mode: StopMode = StopMode.NO

    def turn(self, manager: ServiceManager) -> bool:
        """Whether the loop of each generation turns."""
        return all(generation.turns(manager.watchdog_seconds or 0.0) for generation in self.tasks)

    def stop(self, mode: StopMode) -> None:
        """See `StopMode`."""
        self.stop_mode = mode
        for generation in self.tasks:
            generation.stop(mode)


async def _reload(config: WorkerConfig, generations: Generations) -> None:
    changed: WorkerConfig | None = None
    while config.reload is not None:
        await asyncio.sleep(RELOAD_INTERVAL_SECONDS)
        changed = await asyncio.to_thread(config.reload) or changed
        if (
            changed is not None
            and generations.stop_mode is StopMode.NO
            and await _take_over(changed, generations, config.manager)
        ):
            changed = None


async def _take_over(config: WorkerConfig, generations: Generations, manager: ServiceManager) -> bool:
    """Start a generation with a changed configuration. False: it could not start (Redis is unreachable); try again."""
    generation = Generation(config)
    manager.reloading()
    task = asyncio.create_task(generation.work(), name="worker")
    ready = asyncio.create_task(generation.ready.wait())
    try:
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:  # every other generation has ended meanwhile: the process stops
        generation.stop(StopMode.NOW)
        await task
        raise
    finally:
        await cancel_all(ready)
        manager.reloaded()
    if task.done():
        log.error("the changed configuration cannot start yet; the previous one stays in force: %s", task.exception())
        return False
    earlier = list(generations.tasks)
    generations.tasks[generation] = task
    if generations.stop_mode is not StopMode.NO:
        generation.stop(generations.stop_mode)
    for old in earlier:
        old.drain()
    log.info("the changed configuration is in force")
    return True


def _handle_signals(generations: Generations, config: WorkerConfig) -> None:
    def stop(mode: StopMode, effect: str) -> None:
        log.info("stopping: %s", effect)
        config.manager.stopping(config.settings.grace_seconds)
        generations.stop(mode)

    handle_stop_signals(
        partial(stop, StopMode.DRAIN, "calls in flight may finish"), partial(stop, StopMode.NOW, "putting jobs back")
    )
