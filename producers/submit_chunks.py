"""Submits many requests in chunks: each request is accepted or refused on its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from itertools import islice
from typing import TYPE_CHECKING

from openfall.producers.errors import ProducerError
from openfall.producers.job_request import FleetView, JobRequest, PreparedJob, prepare
from openfall.producers.prompt import Prompt
from openfall.producers.submit_retries import RETRYABLE, UNCERTAIN, SubmitError, submit_with_retry
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.state.errors import Backpressure
from openfall.router_core.state.jobs import Receipt

if TYPE_CHECKING:
    from openfall.producers.client import AsyncOpenfall

SUBMIT_CHUNK = 500
"""Jobs that are sent at once."""


async def submit_chunks(
    llm: AsyncOpenfall, requests: Iterable[JobRequest | Prompt]
) -> AsyncGenerator[list[Receipt | SubmitError], None]:
    """The answers of each chunk of requests, in their order, once Redis has stored the jobs of the chunk.

    While a queue is full, its jobs are retried for `retry_for` seconds, those of later chunks once each.
    """
    rest, retry_on = iter(requests), RETRYABLE
    while part := list(islice(rest, SUBMIT_CHUNK)):
        chunk = [_prepare(llm, request, await llm.store.fleet()) for request in part]
        answers = await submit_with_retry(llm.store.jobs, chunk, retry_on, llm.retry_for)
        yield answers
        retry_on = UNCERTAIN if isinstance(answers[-1], Backpressure) else retry_on


def _prepare(llm: AsyncOpenfall, request: JobRequest | Prompt, fleet: FleetView) -> PreparedJob | SubmitError:
    try:
        whole = request if isinstance(request, JobRequest) else JobRequest(request)
        return prepare(llm.config, llm.producer, whole, fleet)
    except (ProducerError, UnknownName) as error:
        return error
