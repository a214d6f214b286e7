"""Ends jobs for an operator."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from openfall.producers.operations.operator import Operator

CHUNK = 64
"""Jobs that are ended concurrently."""


async def cancel_jobs(operator: Operator, ids: Sequence[str], label: str) -> dict[str, bool]:
    """End jobs by their whole ids: each with False if it had ended before. `label` names them in the audit log."""
    ended: dict[str, bool] = {}
    for first in range(0, len(ids), CHUNK):
        part = ids[first : first + CHUNK]
        ended |= zip(part, await asyncio.gather(*map(operator.llm.cancel, part)), strict=True)
    await operator.note("job.cancel", label, f"{sum(ended.values())} of {len(ids)} cancelled")
    return ended
