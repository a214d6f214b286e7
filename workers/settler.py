"""Settles deliveries in the background: to Redis, or to the spool while Redis is away. Also adopts plain rq jobs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from openfall.router_core.state.claims import RqJob
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.settlement import Settlement
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.workers.rq_jobs import parse_rq_call
from openfall.workers.spool import Spool

log = logging.getLogger("openfall.worker")

RQ_EXPIRES_AFTER_SECONDS = 3600.0
"""A finished job that a plain rq job runs again expires after this time."""

REFUSALS = {
    "late": "another delivery or a cancellation was first",
    "gone": "Redis does not know the job. It has lost its last writes, or the job was deleted",
}
"""Why a settlement is refused, by its outcome."""


@dataclass(slots=True)
class Settler:
    """The background tasks of one worker. It calls `on_breaker_opened` when a settlement has opened a breaker."""

    queue: WorkerQueue
    spool: Spool
    on_breaker_opened: Callable[[], object]
    pending: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def submit(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run something beside the calls. A stopping worker waits for it."""
        task = asyncio.create_task(work, name=name)
        self.pending.add(task)
        task.add_done_callback(self.pending.discard)

    async def flush(self) -> None:
        """Return when everything that was submitted so far is done."""
        await asyncio.gather(*self.pending, return_exceptions=True)

    async def settle(self, settlement: Settlement) -> None:
        """Settle a delivery. If Redis cannot accept the settlement now, it goes to the spool."""
        try:
            reply = await self.queue.settle(settlement)
        except StoreError as error:
            await self._write_to_spool(settlement, error)
            return
        if reply.opened_breaker:
            self.on_breaker_opened()
        if why := REFUSALS.get(reply.outcome):
            log.warning("settlement refused: %s", why, extra={"job": settlement.id})

    async def adopt(self, rq_job: RqJob) -> None:
        """Run the accepted job that a plain rq job names."""
        job_id, refusal = parse_rq_call(rq_job.data)
        try:
            await self.queue.adopt_rq_job(rq_job, job_id, refusal, RQ_EXPIRES_AFTER_SECONDS)
        except StoreError as error:
            log.warning("rq job not adopted: %s; another worker will claim it", error, extra={"job": rq_job.id})

    async def _write_to_spool(self, settlement: Settlement, reason: StoreError) -> None:
        fields = {"job": settlement.id}
        try:
            path = await asyncio.to_thread(self.spool.write, settlement)
        except OSError as error:
            # The job itself is safe in Redis: its lease ends, and it is delivered again.
            place, cause = self.spool.directory, error.strerror or error
            log.error("neither Redis (%s) nor %s (%s) accepts the settlement", reason, place, cause, extra=fields)
        else:
            log.warning("settlement stored at %s until Redis accepts it (%s)", path, reason, extra=fields)
