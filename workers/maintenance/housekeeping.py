"""Runs the periodic tasks of a worker: beat, reap, sweep, deliver the spool; and obeys rq's commands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from openfall.router_core.state.beats_and_leases import BEAT_INTERVAL_SECONDS
from openfall.router_core.state.budget_book import audit_budgets
from openfall.router_core.state.caller_leases import CALLER_LEFT
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.depth_history import SAMPLE_INTERVAL_SECONDS, sample_depths
from openfall.router_core.state.errors import StoreError, StoreUnreachable, UnknownJob
from openfall.router_core.state.fleet_lock import try_lock
from openfall.router_core.state.jobs import JobStore
from openfall.router_core.state.memory_pressure import MEMORY_CHECK_INTERVAL_SECONDS, check_memory
from openfall.router_core.state.reap_and_sweep import (
    AUDIT_INTERVAL_SECONDS,
    JOBS_PER_SWEEP,
    abandoned_jobs,
    audit,
    reap,
)
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.worker_commands import WorkerCommand, listen_commands
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register, report_quiet, report_shortage
from openfall.router_core.state.worker_subscription import WorkerIdentity
from openfall.workers.admin.model_admin import record_models
from openfall.workers.backends.http_backend import HttpBackend
from openfall.workers.maintenance.fleet_cache import FleetCache
from openfall.workers.maintenance.loop_watch import WATCH_INTERVAL_SECONDS, LoopWatch
from openfall.workers.maintenance.sweeper import Sweeper
from openfall.workers.repeated_warning import RepeatedWarning
from openfall.workers.spool import Spool, UnreadableSpool
from openfall.workers.worker import StopMode, Worker

log = logging.getLogger("openfall.upkeep")

# Every worker runs each task for the whole fleet; the scripts make it harmless to do one twice.
REAP_INTERVAL_SECONDS = 1.0
BUDGET_AUDIT_INTERVAL_SECONDS = 10.0
SWEEP_INTERVAL_SECONDS = 1.0
MODELS_INTERVAL_SECONDS = 5.0
OUTDATED_INTERVAL_SECONDS = 0.5
"""Seconds between two reports about a backend whose last report is outdated."""
SPOOL_INTERVAL_SECONDS = 0.5
CALLERS_INTERVAL_SECONDS = 1.0
CLEAN_INTERVAL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """A task that repeats. `for_fleet`: it follows the configuration, so a worker that drains leaves it to its
    successor. `jittered`: the interval varies, so that workers do not act at the same time. `wake`: runs it early."""

    name: str
    interval_seconds: float
    run: Callable[[], Awaitable[object]]
    for_fleet: bool = False
    jittered: bool = True
    wake: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Housekeeping:
    """The periodic tasks of one worker. `jitter` returns numbers in [0, 1]."""

    link: RedisConnection
    identity: WorkerIdentity
    worker: Worker
    queue: WorkerQueue
    fleet_cache: FleetCache
    spool: Spool
    jitter: Callable[[], float]
    loading_backends: Mapping[str, HttpBackend] = field(default_factory=dict)
    """The backends that load models on demand, by name."""
    extra_tasks: Sequence[PeriodicTask] = ()
    max_memory: float = 0.85
    """The share of Redis' `maxmemory` above which no job is accepted."""
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict, init=False)

    def tasks(self) -> list[PeriodicTask]:
        """Every periodic task of this worker."""
        opened, loaded = self.fleet_cache.breaker_opened, self.fleet_cache.model_loaded
        return [
            PeriodicTask("beat", BEAT_INTERVAL_SECONDS, self.beat, jittered=False),
            PeriodicTask("loop", WATCH_INTERVAL_SECONDS, LoopWatch().check, jittered=False),
            PeriodicTask("reap", REAP_INTERVAL_SECONDS, self._reap),
            PeriodicTask("spool", SPOOL_INTERVAL_SECONDS, self._deliver_spool),
            PeriodicTask("sweep", SWEEP_INTERVAL_SECONDS, self._sweep, for_fleet=True, wake=opened),
            PeriodicTask("models", MODELS_INTERVAL_SECONDS, self._record_models, for_fleet=True, wake=loaded),
            PeriodicTask("callers", CALLERS_INTERVAL_SECONDS, self._end_abandoned_jobs, for_fleet=True),
            PeriodicTask("audit", AUDIT_INTERVAL_SECONDS, self._audit, for_fleet=True),
            PeriodicTask("budgets", BUDGET_AUDIT_INTERVAL_SECONDS, self._audit_budgets, for_fleet=True),
            PeriodicTask("memory", MEMORY_CHECK_INTERVAL_SECONDS, self._check_memory, for_fleet=True),
            PeriodicTask(
                "depths",
                SAMPLE_INTERVAL_SECONDS,
                partial(sample_depths, self.link, self.fleet_cache.catalog),
                for_fleet=True,
            ),
            *self.extra_tasks,
        ]

    def start(self) -> None:
        """Start every task; they run until they are stopped."""
        self._running["commands"] = asyncio.create_task(self._listen_commands(), name="commands")
        for task in self.tasks():
            self._running[task.name] = asyncio.create_task(self._repeat(task), name=task.name)

    def drain(self) -> None:
        """Keep only the tasks for the calls in flight: a worker with a newer configuration takes over the others."""
        for task in self.tasks():
            if task.for_fleet:
                self._running[task.name].cancel()

    async def stop(self) -> None:
        await cancel_all(*self._running.values())

    async def _repeat(self, task: PeriodicTask) -> None:
        failure = RepeatedWarning(log, task.name)
        while True:
            try:
                await task.run()
                failure.end()
            except StoreUnreachable:
                log.debug("%s: Redis is unreachable", task.name)
            except StoreError as error:
                failure.warn(error)
            except Exception:  # a bug in openfall must not end a task that the whole fleet needs
                log.exception("%s: internal error; the task continues", task.name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    task.interval_seconds * (0.75 + 0.5 * self.jitter() if task.jittered else 1)
                ):
                    await task.wake.wait()

    async def beat(self) -> None:
        """Renew this worker's presence and leases. The first beat precedes the first claim: other workers take a worker
        without presence for a dead one."""
        beat = await self.queue.beat(self.worker.runner.deliveries)
        if beat.went_back:
            log.error(
                "Redis has lost what it had stored, see openfall status: an older backup, another server, FLUSHALL?"
            )
        if not beat.registered:
            await register(self.link, self.identity)
        for job_id in beat.lost:
            self.worker.runner.abandon(job_id)
        slots = self.worker.slots
        if (state := slots.state) != slots.reported:
            await report_shortage(self.link, self.identity, state)
            slots.reported = state

    async def _reap(self) -> None:
        for job_id, queue, outcome in await reap(self.link):
            log.warning("taken over: its lease in %s ended; %s", queue, outcome, extra={"job": job_id})

    async def _sweep(self) -> None:
        """Refresh the fleet, then look after the waiting jobs, unless a worker that would examine the same queues has
        just done it. A round that found enough work for one more is followed by it at once. A breaker that opens wakes
        this task early."""
        self.fleet_cache.breaker_opened.clear()
        snapshot = await self.fleet_cache.refresh()
        if not await try_lock(self.link, f"sweep:{snapshot.sweep_digest}", SWEEP_INTERVAL_SECONDS * 0.7):
            return
        clean = self.jitter() < SWEEP_INTERVAL_SECONDS / CLEAN_INTERVAL_SECONDS
        sweeper = Sweeper(self.link, self.fleet_cache.catalog)
        left = await sweeper.sweep(snapshot, clean=clean)
        while left >= JOBS_PER_SWEEP:
            left = await sweeper.sweep(await self.fleet_cache.refresh(), clean=False)

    async def _record_models(self) -> None:
        """Record which models the backends have and have loaded; one worker does it for all. An outdated report is
        replaced at once."""
        cache = self.fleet_cache
        cache.model_loaded.clear()
        outdated, cache.outdated = cache.outdated, set()
        snapshot = cache.snapshot or await cache.refresh()
        for name, backend in self.loading_backends.items():
            if name in outdated:
                due = await try_lock(self.link, f"outdated:{name}", OUTDATED_INTERVAL_SECONDS)
            else:
                due = await try_lock(self.link, f"loaded:{name}", MODELS_INTERVAL_SECONDS * 0.8)
            if due:
                await record_models(self.link, cache.catalog, name, backend, snapshot.now)
        if outdated:
            await cache.refresh()

    async def _audit_budgets(self) -> None:
        for budget in await audit_budgets(self.link):
            log.error("budget %s: its reserve was not that of the calls in flight; corrected", budget)

    async def _check_memory(self) -> None:
        """Check whether Redis has room for more jobs."""
        if reason := await check_memory(self.link, self.max_memory):
            log.warning("no job is accepted: %s", reason)

    async def _end_abandoned_jobs(self) -> None:
        """End the jobs whose callers have left: nothing reads their answers, and they would hold slots."""
        for job_id in await abandoned_jobs(self.link):
            with contextlib.suppress(UnknownJob):
                if await JobStore(self.link).cancel(job_id, CALLER_LEFT):
                    log.info("ended: its caller has left", extra={"job": job_id})

    async def _audit(self) -> None:
        for value in await audit(self.link):
            log.warning("%s cannot be read: %s", value.place, value.why)

    async def _deliver_spool(self) -> None:
        for path in await asyncio.to_thread(lambda: list(self.spool.pending())):
            try:
                settlement = await asyncio.to_thread(self.spool.read, path)
            except UnreadableSpool as error:
                log.error("%s; renamed to %s", error, self.spool.quarantine(path))
                continue
            if settlement is not None:
                reply = await self.queue.settle(settlement)
                await asyncio.to_thread(self.spool.remove, path)
                log.info("delivered from disk: %s", reply.outcome, extra={"job": settlement.id})

    async def _listen_commands(self) -> None:
        while True:
            try:
                async for command in listen_commands(self.link.server, self.link.safe_url, self.identity.name):
                    await self._obey(command)
            except StoreError:
                await asyncio.sleep(SPOOL_INTERVAL_SECONDS)

    async def _obey(self, command: WorkerCommand) -> None:
        match command.name:
            case "shutdown":
                log.info("stopping: an rq command requests it")
                self.worker.stop(StopMode.DRAIN)
            case "quiet" | "resume":
                log.info("%s: an operator requests it", command.name)
                self.worker.keep_quiet(command.name == "quiet")
                await report_quiet(self.link, self.identity, command.name == "quiet")
            case "stop-job" | "kill-horse":
                self.worker.runner.cancel(command.job_id, ended=command.ended)
            case "abandon-job":
                self.worker.runner.abandon(command.job_id)
            case "stream-job":
                self.worker.runner.stream(command.job_id)
