"""Batches of the HTTP gateway for people: the newest, and why one does not go on or has failed."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from openfall.router_core.batch_rules.batch_status import ENDED
from openfall.router_core.state import keys
from openfall.router_core.state.batches import Batch, BatchQuery, list_batches
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.server_clock import fetch_server_time

LATE_MS = 5000
"""A gateway that runs claims a batch within half of this time."""


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
        return batch.why or await explain_missing_runner(link, batch)
    line = f"line {first['line']}: " if first.get("line") else ""
    more = f" and {len(batch.errors) - 1} more" if len(batch.errors) > 1 else ""
    return f"{line}{first.get('message')}{more}"


async def explain_missing_runner(link: RedisConnection, batch: Batch) -> str:
    """What a batch without a runner waits for. Empty: it has a runner, or has ended."""
    if batch.status in ENDED:
        return ""
    open_batches = keys.OPEN_BATCHES + batch.terms.directory
    until, now = await asyncio.gather(link.command("ZSCORE", open_batches, batch.terms.id), fetch_server_time(link))
    now_ms = int(now * 1000)
    if until is None or float(until) > now_ms - LATE_MS:
        return ""
    gateways, others = await asyncio.gather(
        link.command("ZCOUNT", keys.GATEWAYS, now_ms, "+inf"), link.command("ZCOUNT", open_batches, now_ms, "+inf")
    )
    if others:
        return f"it waits for the end of one of {others} other batches: each process of a gateway runs a few at a time"
    last = f" (its last runner was {batch.runner})" if batch.runner else ""
    if gateways:
        return f"no running gateway has its files: start `openfall serve` on the host that has them{last}"
    return f"no gateway runs: start `openfall serve` on the host that has its files{last}"
