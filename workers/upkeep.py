"""What repeats beside the claim loop: beat, reap, sweep, deliver the spool, hear rq's commands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from router_core.envelope import unpack_attempts
from router_core.outcome import ErrorClass
from router_core.result import Result, Status
from router_core.state.delivery import BEAT, Deliveries, Identity, Overdue
from router_core.state.errors import StoreError, StoreUnreachable, UnknownJob
from router_core.state.intake import end
from router_core.state.link import Link
from router_core.state.presence import commands, register
from workers.spool import Spool, UnreadableSpool
from workers.worker import Stop, Worker

log = logging.getLogger("openfall.upkeep")

REAP_EVERY = 1.0
SWEEP_EVERY = 2.0
SPOOL_EVERY = 0.5
CLEAN_EVERY = 60.0
"""Seconds. Every worker does each of these for the whole fleet; the scripts make doing it twice harmless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """Keeps one worker, and the fleet, in order. `chance` in [0, 1] spreads the workers' rounds."""

    link: Link
    who: Identity
    worker: Worker
    deliveries: Deliveries
    spool: Spool
    chance: Callable[[], float]

    def start(self) -> tuple[asyncio.Task[None], ...]:
        """Begin every round; they go on until they are stopped."""
        rounds = {
            "commands": self._hear(),
            "beat": self._every(BEAT, self._beat, spread=False),
            "reap": self._every(REAP_EVERY, self._reap),
            "sweep": self._every(SWEEP_EVERY, self._sweep),
            "spool": self._every(SPOOL_EVERY, self._deliver_spool),
        }
        return tuple(asyncio.create_task(round_, name=name) for name, round_ in rounds.items())

    async def worker_is_here(self) -> None:
        """The first beat, before the first claim: a worker without presence would be taken for a dead one."""
        await self._beat()

    async def _every(self, seconds: float, round_: Callable[[], Awaitable[None]], *, spread: bool = True) -> None:
        while True:
            try:
                await round_()
            except StoreUnreachable:
                log.debug("Redis is away")
            except StoreError as error:
                log.warning("%s", error)
            await asyncio.sleep(seconds * (0.75 + 0.5 * self.chance()) if spread else seconds)

    async def _beat(self) -> None:
        known, lost = await self.deliveries.beat([running.delivery for running in self.worker.running.values()])
        if not known:
            await register(self.link, self.who)
        for job_id in lost:
            self.worker.lose(job_id)

    async def _reap(self) -> None:
        for job_id, queue, came in await self.deliveries.reap():
            log.warning("%s: taken over from a dead worker of %s: %s", job_id, queue, came)

    async def _sweep(self) -> None:
        clean = self.chance() < SWEEP_EVERY / CLEAN_EVERY
        now, found = await self.deliveries.sweep(clean)
        for overdue in found:
            await self._end(overdue, now)

    async def _end(self, overdue: Overdue, now: float) -> None:
        result, rq_status = _ending(overdue, now)
        with contextlib.suppress(UnknownJob):
            if await end(self.link, result, rq_status=rq_status, seen_deliveries=overdue.deliveries):
                log.warning("%s: %s: %s", overdue.id, result.status, result.detail)

    async def _deliver_spool(self) -> None:
        for path in await asyncio.to_thread(lambda: list(self.spool.pending())):
            try:
                settle = await asyncio.to_thread(self.spool.read, path)
            except UnreadableSpool as error:
                log.error("%s; set aside as %s", error, self.spool.set_aside(path))
                continue
            if settle is not None:
                came = await self.deliveries.settle(settle)
                await asyncio.to_thread(self.spool.drop, path)
                log.info("%s: delivered from disk: %s", settle.id, came)

    async def _hear(self) -> None:
        while True:
            try:
                async for command in commands(self.link.url, self.link.place, self.who.name):
                    if command.name == "shutdown":
                        log.info("told to shut down by an rq command")
                        self.worker.stop(Stop.DRAIN)
                    elif command.name in ("stop-job", "kill-horse"):
                        self.worker.cancel(command.job_id, ended=command.ended)
            except StoreError:
                await asyncio.sleep(SPOOL_EVERY)


_WHY = {
    "overdue": "its deadline passed while it waited",
    "cancelled": "cancelled with rq's own tools",
    "deleted": "its rq job was deleted with rq's own tools",
}


def _ending(overdue: Overdue, now: float) -> tuple[Result, str]:
    expired = overdue.why == "overdue"
    result = Result(
        id=overdue.id,
        status=Status.EXPIRED if expired else Status.CANCELLED,
        attempts=unpack_attempts(overdue.attempts),
        error=ErrorClass.TIMEOUT if expired else ErrorClass.CANCELLED,
        detail=_WHY[overdue.why],
    )
    return result, "failed" if expired else "canceled"
