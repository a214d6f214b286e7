"""Submits the lines of a batch as jobs. A full queue only slows it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from openfall.producers.gateway.batches.batch_journal import BatchJournal
from openfall.producers.gateway.batches.batch_lines import BatchLines
from openfall.producers.request import PreparedJob
from openfall.producers.submit import UNCERTAIN, submit_with_retry
from openfall.router_core.state.batch_claims import BatchClaim, RenewalReply
from openfall.router_core.state.errors import Backpressure, DeadlinePassed, IdempotencyConflict, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openfall.producers.gateway.gateway import Gateway
    from openfall.router_core.batching.journal_row import JournalRow

CHUNK = 100
MAX_WAITING = 20_000
"""Jobs of one batch that have no result: more prompts in Redis would not bring an answer sooner."""
FULL_SECONDS = 0.25
MAX_BACKPRESSURE_PAUSE_SECONDS = 5.0


class RunningBatch(Protocol):
    """The batch whose lines are submitted."""

    @property
    def is_over(self) -> bool: ...

    def note(self, reply: RenewalReply) -> None: ...

    async def write(self, rows: Sequence[JournalRow]) -> None: ...


class LineSubmitter:
    """Submits the lines of one batch. A line that is submitted twice is one job."""

    def __init__(
        self, gateway: Gateway, claim: BatchClaim, lines: BatchLines, journal: BatchJournal, batch: RunningBatch
    ) -> None:
        self._gateway, self._claim, self._lines, self._journal, self._batch = gateway, claim, lines, journal, batch

    async def submit_from(self, submitted: int) -> None:
        """Submit every line without an end from this one on, until the batch is over. Raises `StoreError`."""
        total = len(self._lines.input)
        while submitted < total and not self._batch.is_over:
            if submitted - self._journal.ends.total() >= MAX_WAITING:
                await asyncio.sleep(FULL_SECONDS)
                continue
            end = min(total, submitted + CHUNK)
            indexes = [index for index in range(submitted, end) if not self._journal.has_end[index]]
            fleet = await self._gateway.client.store.fleet()
            jobs, refused = await asyncio.to_thread(self._lines.prepare, indexes, fleet)
            await self._batch.write(refused)
            if await self._submit(jobs):
                submitted = end
                self._batch.note(await self._claim.renew(values={"submitted": submitted}))

    async def _submit(self, jobs: dict[int, PreparedJob]) -> bool:
        """False: the batch was over before all were accepted. Raises `StoreError`."""
        client = self._gateway.client
        while jobs:
            answers = await submit_with_retry(client.store.jobs, [*jobs.values()], UNCERTAIN, client.retry_for)
            refused: dict[int, PreparedJob] = {}
            pause = 0.0
            for index, answer in zip(list(jobs), answers, strict=True):
                if isinstance(answer, Backpressure):
                    refused[index] = jobs[index]
                    pause = max(pause, answer.retry_after)
                elif isinstance(answer, DeadlinePassed):
                    return False
                elif isinstance(answer, StoreError) and not isinstance(answer, IdempotencyConflict):
                    raise answer
            jobs = refused
            if jobs and self._batch.is_over:
                return False
            if jobs:
                await asyncio.sleep(min(MAX_BACKPRESSURE_PAUSE_SECONDS, pause))
        return True
