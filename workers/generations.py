"""The generations of a worker process: a worker with a changed configuration takes over, and no job is dropped."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import time
from dataclasses import dataclass

from openfall.config.config_watcher import RELOAD_INTERVAL_SECONDS
from openfall.router_core.catalog.budget_scope import all_budgets
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.keys import DEGRADE
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.redis_rights import WORKER_SCRIPTS
from openfall.router_core.state.wake_up import WakeUp
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register, unregister
from openfall.workers.composition import completion_worker, degrade_worker
from openfall.workers.maintenance.fleet_cache import FleetCache
from openfall.workers.maintenance.housekeeping import Housekeeping, PeriodicTask
from openfall.workers.maintenance.redis_server_watch import SERVER_CHECK_INTERVAL_SECONDS, ServerWatch
from openfall.workers.service_manager import ServiceManager
from openfall.workers.settler import Settler
from openfall.workers.spool import Spool
from openfall.workers.worker import StopMode, Worker
from openfall.workers.worker_config import WorkerConfig, identify

log = logging.getLogger("openfall.worker")


class Generation:
    """A worker with one configuration, from its start to its last settlement."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._worker: Worker | None = None
        self._housekeeping: Housekeeping | None = None
        self._stop_mode = StopMode.NO
        self.ready = asyncio.Event()
        self.status = ""
        """What the service manager shows of it once it is ready."""

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
            queue = WorkerQueue(
                link, identity, queues, policy=catalog.breakers, keep_prompts=config.keep_prompts,
                budgets=all_budgets(catalog),
            )  # fmt: skip
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
            with contextlib.suppress(StoreError):
                await unregister(link, identity)

    async def _work(self, worker: Worker, housekeeping: Housekeeping) -> None:
        await housekeeping.beat()
        identity = housekeeping.identity
        self.status = f"{identity.name}: slots: {self._config.settings.slots}"
        log.info("%s, queues: %d", self.status, len(identity.queues))
        # Objects that exist now live to the end: the collector need not scan them while jobs wait for their start.
        gc.collect()
        gc.freeze()
        housekeeping.start()
        self.ready.set()
        self._config.manager.ready(self.status)
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


async def reload_when_changed(config: WorkerConfig, generations: Generations) -> None:
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
        manager.reloaded(generation.status)
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
