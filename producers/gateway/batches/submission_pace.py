"""Submits the lines of a batch as jobs. A full queue only slows it. A line that is submitted twice is one job."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from openfall.producers.job_request import PreparedJob
from openfall.producers.submit_retries import UNCERTAIN, submit_with_retry
from openfall.router_core.state.errors import Backpressure, DeadlinePassed, IdempotencyConflict, StoreError

if TYPE_CHECKING:
    from openfall.producers.gateway.batches.batch_execution import BatchExecution

CHUNK = 100
MAX_WAITING = 20_000
"""Jobs of one batch that have no result: more prompts in Redis would not bring an answer sooner."""
FULL_SECONDS = 0.25
MAX_BACKPRESSURE_PAUSE_SECONDS = 5.0


async def submit_lines(batch: BatchExecution, submitted: int) -> None:
    """Submit every line without an end from this one on, until the batch is over. Raises `StoreError`."""
    total = len(batch.lines.input)
    while submitted < total and not batch.is_over:
        if submitted - batch.journal.ends.total() >= MAX_WAITING:
            await asyncio.sleep(FULL_SECONDS)
            continue
        end = min(total, submitted + CHUNK)
        indexes = [index for index in range(submitted, end) if not batch.journal.has_end[index]]
        fleet = await batch.gateway.client.store.fleet()
        jobs, refused = await asyncio.to_thread(batch.lines.prepare, indexes, fleet)
        await batch.write(refused)
        if await _submit(batch, jobs):
            submitted = end
            batch.note(await batch.claim.renew(values={"submitted": submitted}))


async def _submit(batch: BatchExecution, jobs: dict[int, PreparedJob]) -> bool:
    """False: the batch was over before all were accepted. Raises `StoreError`."""
    client = batch.gateway.client
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
        if jobs and batch.is_over:
            return False
        if jobs:
            await asyncio.sleep(min(MAX_BACKPRESSURE_PAUSE_SECONDS, pause))
    return True
