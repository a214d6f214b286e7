"""Submits jobs, with retries while Redis does not answer or a queue is full."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from openfall.config import NoRedis
from openfall.producers.client_store import UNREACHABLE
from openfall.producers.errors import ProducerError
from openfall.producers.job_request import PreparedJob
from openfall.producers.outage_log import OUTAGES
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.state.errors import Backpressure, NotConfirmed, StoreError, StoreUnreachable
from openfall.router_core.state.jobs import JobStore, Receipt

T = TypeVar("T")
Errors = tuple[type[StoreError], ...]
SubmitError = StoreError | ProducerError | UnknownName
"""Why one job of many was not accepted."""

RETRY_FOR_SECONDS = 10.0
"""How long a client retries before it raises."""
RETRY_INTERVAL_SECONDS = 0.25
FULL_QUEUE_INTERVAL_SECONDS = 1.0
"""Pause between attempts on a full queue: a refused job costs Redis as much as an accepted one."""
UNCERTAIN: Errors = (StoreUnreachable, NotConfirmed)
"""Errors after which the same job can be sent again at once."""
RETRYABLE: Errors = (*UNCERTAIN, Backpressure)
"""Errors that may pass with time."""
MAX_BACKPRESSURE_PAUSE_SECONDS = 5.0
"""Limit of the pause before a batch submits again the lines that a full queue refused."""


async def submit_with_retry(
    jobs: JobStore,
    chunk: Sequence[PreparedJob | SubmitError],
    retry_on: Errors = RETRYABLE,
    retry_for: float = RETRY_FOR_SECONDS,
) -> list[Receipt | SubmitError]:
    """Submit prepared jobs. Jobs that fail with an error of `retry_on` are retried for `retry_for` seconds.

    Errors in `chunk` are returned in their places.
    """
    answers: dict[int, Receipt | SubmitError] = {}
    pending = {index: item for index, item in enumerate(chunk) if isinstance(item, tuple)}
    end = time.monotonic() + retry_for
    while pending:
        replies = await jobs.accept_many(pending.values())
        for index, answer in zip(list(pending), replies, strict=True):
            if not isinstance(answer, Receipt | StoreError):
                raise answer
            answers[index] = answer
        pending = {index: pending[index] for index in pending if isinstance(answers[index], retry_on)}
        if not pending or time.monotonic() > end:
            break
        full = any(isinstance(answers[index], Backpressure) for index in pending)
        await asyncio.sleep(FULL_QUEUE_INTERVAL_SECONDS if full else RETRY_INTERVAL_SECONDS)
    return [item if not isinstance(item, tuple) else answers[index] for index, item in enumerate(chunk)]


def refused_by_full_queue(
    jobs: Sequence[T], answers: Sequence[Receipt | SubmitError]
) -> tuple[list[T], Backpressure | None]:
    """The jobs that a full queue refused, and the refusal that asks for the longest pause. `answers` are in the order
    of the jobs."""
    refusals = [(job, answer) for job, answer in zip(jobs, answers, strict=True) if isinstance(answer, Backpressure)]
    longest = max((refusal for _, refusal in refusals), key=lambda refusal: refusal.retry_after, default=None)
    return [job for job, _ in refusals], longest


async def wait_for_room(refusal: Backpressure) -> None:
    """Pause before the refused jobs of a batch are submitted again."""
    await asyncio.sleep(min(MAX_BACKPRESSURE_PAUSE_SECONDS, refusal.retry_after))


@contextmanager
def about_job(job_id: str) -> Iterator[None]:
    """Add the id of the job to an error of Redis."""
    try:
        yield
    except (StoreError, NoRedis) as error:
        error.job_id = error.job_id or job_id
        raise


async def retry(step: Callable[[], Awaitable[T]], retry_for: float) -> T:
    """Run an idempotent step. While Redis does not answer or is not started yet, repeat it for `retry_for` seconds."""
    began = time.monotonic()
    while True:
        try:
            return await step()
        except (*UNREACHABLE, NotConfirmed) as error:
            if time.monotonic() > began + retry_for:
                raise
            OUTAGES.note(error, began)
        await asyncio.sleep(RETRY_INTERVAL_SECONDS)
