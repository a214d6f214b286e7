"""What is written beside the calls: settles, to Redis or to the spool; answers to plain rq. Nobody waits for it."""

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
from openfall.workers.rq_jobs import read_ticket
from openfall.workers.spool import Spool

log = logging.getLogger("openfall.worker")


@dataclass(slots=True)
class Settler:
    """Tasks of one worker beside its calls. `troubled` is called when a settle has opened a breaker."""

    deliveries: WorkerQueue
    spool: Spool
    troubled: Callable[[], object]
    at_work: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def take(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Do something beside the calls. A worker that stops waits for it."""
        task = asyncio.create_task(work, name=name)
        self.at_work.add(task)
        task.add_done_callback(self.at_work.discard)

    async def clear(self) -> None:
        """Return when everything taken so far is done."""
        await asyncio.gather(*self.at_work, return_exceptions=True)

    async def deliver(self, settle: Settlement) -> None:
        """Settle, or spool what Redis cannot take now."""
        try:
            settled = await self.deliveries.settle(settle)
        except StoreError as error:
            await self._keep(settle, error)
            return
        if settled.opened_breaker:
            self.troubled()
        if settled.outcome in ("late", "gone"):
            log.warning("%s: settled too late, refused: another delivery or a cancel was first", settle.id)

    async def answer(self, ticket: RqJob, give_up: float) -> None:
        """See that the job that plain rq asks for runs. `give_up` in seconds, for one that runs again."""
        job_id, why_not = read_ticket(ticket.data)
        try:
            await self.deliveries.adopt_rq_job(ticket, job_id, why_not, give_up)
        except StoreError as error:
            log.warning("rq job %s: %s; another worker will take it", ticket.id, error)

    async def _keep(self, settle: Settlement, why: StoreError) -> None:
        try:
            path = await asyncio.to_thread(self.spool.keep, settle)
        except OSError as error:
            # The job itself is safe in Redis: its lease ends, and it is carried out again.
            log.error("%s: neither Redis (%s) nor the disk (%s) takes what came of it", settle.id, why, error)
        else:
            log.warning("%s: kept on disk at %s until Redis takes it (%s)", settle.id, path, why)
