"""Jobs offered to a queue: again, for a while, when Redis does not answer or nothing more is taken in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from openfall.producers.errors import ProducerError
from openfall.router_core.catalog.entries import UnknownName
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.state.errors import Backpressure, StoreError, StoreUnreachable
from openfall.router_core.state.jobs import JobStore, Receipt, SubmitTerms

T = TypeVar("T")
Errors = tuple[type[StoreError], ...]
Prepared = tuple[CompletionJob, SubmitTerms]
Refused = StoreError | ProducerError | UnknownName
"""Why one job of many was not put in."""

PATIENCE = 10.0
"""Seconds for which a job is offered again to a Redis that does not answer. Then its caller is told."""
AGAIN = 0.25
WAITING = (StoreUnreachable, Backpressure)
"""What waiting may mend."""
FULL_AGAIN = 1.0
"""Seconds between offers to a queue that is full: each costs Redis as much as if it were taken."""


async def submit_with_retry(
    intake: JobStore, chunk: Sequence[Prepared | Refused], bears: Errors = WAITING, patience: float = PATIENCE
) -> list[Receipt | Refused]:
    """Put prepared jobs in. Those to which an error that it `bears` happens are offered again for `patience` seconds.
    What is refused already stays refused."""
    answers: dict[int, Receipt | Refused] = {}
    open_ = {place: item for place, item in enumerate(chunk) if isinstance(item, tuple)}
    until = time.monotonic() + patience
    while open_:
        told = await intake.accept_many(open_.values())
        for place, answer in zip(list(open_), told, strict=True):
            if not isinstance(answer, Receipt | StoreError):
                raise answer
            answers[place] = answer
        open_ = {place: open_[place] for place in open_ if isinstance(answers[place], bears)}
        if open_ and time.monotonic() > until:
            break
        if open_:
            full = any(isinstance(answers[place], Backpressure) for place in open_)
            await asyncio.sleep(FULL_AGAIN if full else AGAIN)
    return [item if not isinstance(item, tuple) else answers[place] for place, item in enumerate(chunk)]


async def retry(step: Callable[[], Awaitable[T]], patience: float) -> T:
    """Repeat a step that bears it while Redis does not answer, for `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        try:
            return await step()
        except StoreUnreachable:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(AGAIN)
