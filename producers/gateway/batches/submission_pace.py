"""Submits the lines of a batch as jobs. A full queue only slows it. A line that is submitted twice is one job."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from openfall.producers.job_request import PreparedJob
from openfall.producers.submit_retries import UNCERTAIN, refused_by_full_queue, submit_with_retry, wait_for_room
from openfall.router_core.state.errors import Backpressure, DeadlinePassed, IdempotencyConflict, StoreError

if TYPE_CHECKING:
    from openfall.producers.gateway.batches.batch_execution import BatchExecution

CHUNK = 100
MAX_WAITING = 20_000
"""Jobs of one batch that have no result: more prompts in Redis would not bring an answer sooner."""
FULL_SECONDS = 0.25


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
        if await _submit(batch, [*jobs.values()]):
            submitted = end
            batch.note(await batch.claim.renew(values={"submitted": submitted}))


async def submit_again(batch: BatchExecution, indexes: list[int]) -> None:
    """Submit lines whose jobs Redis has lost. Raises `StoreError`."""
    if indexes and not batch.is_over:
        jobs, refused = await asyncio.to_thread(batch.lines.prepare, indexes, await batch.gateway.client.store.fleet())
        await batch.write(refused)
        await _submit(batch, [*jobs.values()])


async def _submit(batch: BatchExecution, jobs: list[PreparedJob]) -> bool:
    """False: the batch was over before all were accepted. Raises `StoreError`."""
    client = batch.gateway.client
    while jobs:
        answers = await submit_with_retry(client.store.jobs, jobs, UNCERTAIN, client.retry_for)
        if any(isinstance(answer, DeadlinePassed) for answer in answers):
            return False
        for answer in answers:
            if isinstance(answer, StoreError) and not isinstance(answer, Backpressure | IdempotencyConflict):
                raise answer
        jobs, refusal = refused_by_full_queue(jobs, answers)
        if refusal is not None:
            if batch.is_over:
                return False
            await wait_for_room(refusal)
    return True
