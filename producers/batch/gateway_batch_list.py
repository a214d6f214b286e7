"""The newest batches of the HTTP gateway, each with what keeps it from going on: for the command line and the page."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from openfall.producers.batch.missing_keeper import explain_missing_keeper
from openfall.router_core.state.batches import Batch, BatchQuery, list_batches
from openfall.router_core.state.redis_connection import RedisConnection


class ExplainedBatch(NamedTuple):
    """A batch, and what keeps it from going on or why it failed; empty: nothing does."""

    batch: Batch
    why: str


async def newest_gateway_batches(link: RedisConnection, limit: int) -> list[ExplainedBatch]:
    """The newest batches of every key, of both APIs."""
    pages = await asyncio.gather(*(list_batches(link, BatchQuery(form, "", limit)) for form in ("openai", "anthropic")))
    batches = [batch for page in pages if page is not None for batch in page[0]]
    newest = sorted(batches, key=lambda batch: batch.terms.created_at, reverse=True)[:limit]
    reasons = await asyncio.gather(*(explain_batch(link, batch) for batch in newest))
    return [ExplainedBatch(batch, why) for batch, why in zip(newest, reasons, strict=True)]


async def explain_batch(link: RedisConnection, batch: Batch) -> str:
    """What keeps a batch from going on, or why it failed."""
    first = next(iter(batch.errors), None)
    if first is None:
        return batch.why or await explain_missing_keeper(link, batch)
    line = f"line {first['line']}: " if first.get("line") else ""
    more = f" and {len(batch.errors) - 1} more" if len(batch.errors) > 1 else ""
    return f"{line}{first.get('message')}{more}"
