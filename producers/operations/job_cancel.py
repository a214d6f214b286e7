"""Ends jobs, and batches of the HTTP gateway, for an operator."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from openfall.producers.operations.operator import Operator
from openfall.router_core.state.batches import cancel_batch
from openfall.router_core.state.job_search import find_job

CHUNK = 64
"""Jobs that are ended concurrently."""


async def cancel_job(operator: Operator, typed_id: str) -> tuple[str, bool]:
    """End a job by its id or the first letters of it. Returns the whole id, and False if it had ended before.

    Raises `UnknownJob`."""
    job_id = await find_job(operator.link, typed_id)
    ended = await operator.llm.cancel(job_id)
    await operator.note("job.cancel", job_id, "cancelled" if ended else "had ended before")
    return job_id, ended


async def cancel_jobs(operator: Operator, ids: Sequence[str], label: str) -> dict[str, bool]:
    """End jobs by their whole ids: each with False if it had ended before. `label` names them in the audit log."""
    ended: dict[str, bool] = {}
    for first in range(0, len(ids), CHUNK):
        part = ids[first : first + CHUNK]
        ended |= zip(part, await asyncio.gather(*map(operator.llm.cancel, part)), strict=True)
    await operator.note("job.cancel", label, f"{sum(ended.values())} of {len(ids)} cancelled")
    return ended


async def cancel_gateway_batch(operator: Operator, batch_id: str) -> str:
    """End the lines of a batch of the HTTP gateway that have no answer. Returns its status before."""
    before = await cancel_batch(operator.link, batch_id)
    await operator.note("batch.cancel", batch_id, f"it was {before}")
    return str(before)
