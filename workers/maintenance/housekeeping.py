"""What repeats beside the claim loop: beat, reap, sweep, deliver the spool, hear rq's commands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.errors import StoreError, StoreUnreachable
from openfall.router_core.state.fleet_flags import MEMORY_CHECK_INTERVAL_SECONDS as PRESS_EVERY
from openfall.router_core.state.fleet_flags import check_memory, remember_loaded, try_lock
from openfall.router_core.state.maintenance import reap
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.subscription import WorkerIdentity
from openfall.router_core.state.worker_queue import BEAT_INTERVAL_SECONDS, WorkerQueue
from openfall.router_core.state.worker_registry import listen_commands, register
from openfall.workers.backends.base import CompletionBackend, same_model
from openfall.workers.backends.health import ENDPOINT_TIMEOUT_S
from openfall.workers.maintenance.fleet_cache import FleetCache
from openfall.workers.maintenance.sweeper import Sweeper
from openfall.workers.spool import Spool, UnreadableSpool
from openfall.workers.worker import StopMode, Worker

log = logging.getLogger("openfall.upkeep")

REAP_EVERY = 1.0
SWEEP_EVERY = 1.0
LOOK_EVERY = 5.0
SPOOL_EVERY = 0.5
CLEAN_EVERY = 60.0
"""Seconds. Every worker does each of these for the whole fleet; the scripts make doing it twice harmless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Housekeeping:
    """Keeps one worker, and the fleet, in order. `chance` in [0, 1] spreads the workers' rounds."""

    link: RedisConnection
    who: WorkerIdentity
    worker: Worker
    deliveries: WorkerQueue
    watch: FleetCache
    spool: Spool
    chance: Callable[[], float]
    hosts: Mapping[str, CompletionBackend] = field(default_factory=dict)
    """The backends that load models by themselves, by name."""
    also: Mapping[str, tuple[float, Callable[[], Awaitable[None]]]] = field(default_factory=dict)
    """What else this worker does for the fleet, and after how many seconds again."""
    memory_limit: float = 0.85
    """The share of Redis' `maxmemory` above which nothing more is accepted."""
    rounds: dict[str, asyncio.Task[None]] = field(default_factory=dict, init=False)

    def start(self) -> None:
        """Begin every round; they go on until they are stopped."""
        rounds = {
            "commands": self._hear(),
            "beat": self._every(BEAT_INTERVAL_SECONDS, self._beat, spread=False),
            "reap": self._every(REAP_EVERY, self._reap),
            "sweep": self._every(SWEEP_EVERY, self._sweep, woken_by=self.watch.troubled),
            "memory": self._every(LOOK_EVERY, self._look_into_memory),
            "spool": self._every(SPOOL_EVERY, self._deliver_spool),
            "pressure": self._every(PRESS_EVERY, self._press),
            **{name: self._every(seconds, round_) for name, (seconds, round_) in self.also.items()},
        }
        self.rounds.update({name: asyncio.create_task(round_, name=name) for name, round_ in rounds.items()})

    def retire(self) -> None:
        """Look after the calls in flight alone: what is decided for the fleet follows a newer configuration."""
        for name in ("sweep", "memory", "pressure", *self.also):
            self.rounds[name].cancel()

    async def stop(self) -> None:
        await cancel_all(*self.rounds.values())

    async def worker_is_here(self) -> None:
        """The first beat, before the first claim: a worker without presence would be taken for a dead one."""
        await self._beat()

    async def _every(
        self,
        seconds: float,
        round_: Callable[[], Awaitable[None]],
        *,
        spread: bool = True,
        woken_by: asyncio.Event | None = None,
    ) -> None:
        woken_by = woken_by or asyncio.Event()
        while True:
            try:
                await round_()
            except StoreUnreachable:
                log.debug("Redis is away")
            except StoreError as error:
                log.warning("%s", error)
            except Exception:  # a bug of ours must not end what the whole fleet relies on
                log.exception("openfall itself failed in its upkeep; it goes on")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds * (0.75 + 0.5 * self.chance()) if spread else seconds):
                    await woken_by.wait()

    async def _beat(self) -> None:
        known, lost = await self.deliveries.beat([running.delivery for running in self.worker.running.values()])
        if not known:
            await register(self.link, self.who)
        for job_id in lost:
            self.worker.lose(job_id)

    async def _reap(self) -> None:
        for job_id, queue, came in await reap(self.link):
            log.warning("%s: taken over from a dead worker of %s: %s", job_id, queue, came)

    async def _sweep(self) -> None:
        """Look at the fleet, then after what waits in it; sooner than usual when a breaker has opened."""
        self.watch.troubled.clear()
        seen = await self.watch.look()
        clean = self.chance() < SWEEP_EVERY / CLEAN_EVERY
        await Sweeper(self.link, self.watch.catalog).round(seen, clean=clean)

    async def _look_into_memory(self) -> None:
        """Which models the backends have loaded; one worker looks for all."""
        for name, backend in self.hosts.items():
            if await try_lock(self.link, f"loaded:{name}", LOOK_EVERY * 0.8):
                await self._remember_loaded(name, backend)

    async def _press(self) -> None:
        """Whether Redis has room for more jobs."""
        if why := await check_memory(self.link, self.memory_limit):
            log.warning("%s: no job is accepted", why)

    async def _remember_loaded(self, name: str, backend: CompletionBackend) -> None:
        loaded = await backend.list_loaded(ENDPOINT_TIMEOUT_S)
        if loaded is None or isinstance(loaded, Failure) or self.watch.last is None:
            return
        catalog = self.watch.catalog
        here = {spec.upstream for spec in catalog.models.values() if name in spec.backends}
        found = [upstream for upstream in here if any(same_model(one.upstream, upstream) for one in loaded)]
        await remember_loaded(self.link, name, found, self.watch.last.now)

    async def _deliver_spool(self) -> None:
        for path in await asyncio.to_thread(lambda: list(self.spool.pending())):
            try:
                settle = await asyncio.to_thread(self.spool.read, path)
            except UnreadableSpool as error:
                log.error("%s; set aside as %s", error, self.spool.set_aside(path))
                continue
            if settle is not None:
                settled = await self.deliveries.settle(settle)
                await asyncio.to_thread(self.spool.drop, path)
                log.info("%s: delivered from disk: %s", settle.id, settled.outcome)

    async def _hear(self) -> None:
        while True:
            try:
                async for command in listen_commands(self.link.url, self.link.safe_url, self.who.name):
                    if command.name == "shutdown":
                        log.info("told to shut down by an rq command")
                        self.worker.stop(StopMode.DRAIN)
                    elif command.name in ("stop-job", "kill-horse"):
                        self.worker.cancel(command.job_id, ended=command.ended)
            except StoreError:
                await asyncio.sleep(SPOOL_EVERY)
