"""Submits many requests in chunks: each request is accepted or refused on its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from itertools import islice

from openfall.producers.client_store import ClientStore
from openfall.producers.errors import ProducerError
from openfall.producers.job_request import FleetView, JobRequest, PreparedJob
from openfall.producers.prompt import Prompt
from openfall.producers.submit_retries import RETRYABLE, UNCERTAIN, SubmitError, retry, submit_with_retry
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.state.errors import Backpressure
from openfall.router_core.state.jobs import Receipt

SUBMIT_CHUNK = 500
"""Jobs that are sent at once."""
Prepare = Callable[[JobRequest, FleetView], PreparedJob]


async def submit_chunks(
    store: ClientStore, requests: Iterable[JobRequest | Prompt], prepare: Prepare, retry_for: float
) -> AsyncGenerator[list[Receipt | SubmitError], None]:
    """The answers of each chunk of requests, in their order, once Redis has stored the jobs of the chunk.

    While Redis is not started or does not answer, and while a queue is full, jobs are retried for `retry_for` seconds;
    after a full queue those of later chunks once each. Raises `NoRedis`.
    """
    await retry(store.connect, retry_for)
    rest, retry_on = iter(requests), RETRYABLE
    while part := list(islice(rest, SUBMIT_CHUNK)):
        chunk = [_prepare(prepare, request, await store.fleet()) for request in part]
        answers = await submit_with_retry(store.jobs, chunk, retry_on, retry_for)
        yield answers
        retry_on = UNCERTAIN if isinstance(answers[-1], Backpressure) else retry_on


def _prepare(prepare: Prepare, request: JobRequest | Prompt, fleet: FleetView) -> PreparedJob | SubmitError:
    try:
        return prepare(request if isinstance(request, JobRequest) else JobRequest(request), fleet)
    except (ProducerError, UnknownName) as error:
        return error
