"""Runs batches in a process of the gateway: any process of any gateway can take over any batch of its directory."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from openfall.producers.gateway.batches.batch_execution import BatchExecution, LeaseLost
from openfall.router_core.state.batch_claims import LEASE_SECONDS, BatchClaim, claim_batches
from openfall.router_core.state.batches import fetch_batch
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.errors import StoreError

if TYPE_CHECKING:
    from openfall.producers.gateway.gateway import Gateway

log = logging.getLogger("openfall.gateway")

POLL_SECONDS = 2.0
RENEW_SECONDS = LEASE_SECONDS / 4
RETRY_SECONDS = 5.0
"""How long a batch rests that cannot go on now: the disk is full, or there is an unexpected error."""
MAX_BATCHES = 8
"""Batches that one process runs at once."""


class BatchRunner:
    """Claims batches, and works on each until it has ended or another runner has claimed it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There is a new batch."""
        self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled. Then other runners may claim its batches at once."""
        try:
            while True:
                with suppress(StoreError, OSError):
                    await self._claim()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
                self._wake.clear()
        finally:
            await self.release()

    async def release(self) -> None:
        """Give up every batch: any runner may claim it at once."""
        await cancel_all(*self._tasks.values())

    async def _claim(self) -> None:
        directory = self._gateway.directory
        room = MAX_BATCHES - len(self._tasks)
        if room <= 0 or not await asyncio.to_thread(directory.path.is_dir):
            return
        directory_id = await asyncio.to_thread(lambda: directory.id)
        link = self._gateway.client.store.connection
        for claim in await claim_batches(link, directory_id, self._gateway.callers.gateway_id, room):
            if (before := self._tasks.get(claim.batch_id)) is not None:
                before.cancel()  # its lease ended while this process stood still
            task = asyncio.create_task(self._work_until_ended(claim), name=f"runner-{claim.batch_id}")
            self._tasks[claim.batch_id] = task
            task.add_done_callback(partial(self._forget, claim.batch_id))

    def _forget(self, batch_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(batch_id) is task:
            del self._tasks[batch_id]
            self._wake.set()

    async def _work_until_ended(self, claim: BatchClaim) -> None:
        """Work on a batch. Whatever hinders it, it is tried again later."""
        rest_seconds, why = 0.0, ""
        try:
            await self._work(claim)
            return
        except LeaseLost:
            log.warning("batch %s has another runner now", claim.batch_id)
            return
        except asyncio.CancelledError:
            raise
        except (StoreError, OSError) as error:
            rest_seconds, why = RETRY_SECONDS, str(error)
            log.warning("batch %s waits %.0f s: %s", claim.batch_id, RETRY_SECONDS, error)
        except Exception as error:
            rest_seconds, why = RETRY_SECONDS, f"unexpected {type(error).__name__}: see the log of the gateway"
            log.exception("batch %s: an unexpected error", claim.batch_id)
        finally:
            with suppress(StoreError):
                await claim.renew(values={"why": why}, lease_seconds=rest_seconds)

    async def _work(self, claim: BatchClaim) -> None:
        batch = await fetch_batch(claim.link, claim.batch_id)
        if batch is None:
            raise LeaseLost
        execution = BatchExecution(self._gateway, claim, batch)
        work = asyncio.create_task(execution.run(), name=f"batch-{claim.batch_id}")
        renewal = asyncio.create_task(_renew(claim, execution), name="batch-lease")
        try:
            done, _ = await asyncio.wait({work, renewal}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await cancel_all(work, renewal)


async def _renew(claim: BatchClaim, execution: BatchExecution) -> None:
    """Keep the lease. While Redis does not answer, no other runner can claim the batch either."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        with suppress(StoreError):
            execution.note(await claim.renew())
