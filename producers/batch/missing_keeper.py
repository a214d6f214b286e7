"""Why a batch of the HTTP gateway that has not ended has no keeper."""

from __future__ import annotations

import asyncio

from openfall.router_core.batching.batch_status import ENDED
from openfall.router_core.state import keys
from openfall.router_core.state.batches import Batch
from openfall.router_core.state.redis_connection import RedisConnection

LATE_MS = 5000
"""A gateway that runs claims a batch within half of this time."""


async def explain_missing_keeper(link: RedisConnection, batch: Batch) -> str:
    """What a batch without a keeper waits for. Empty: it has a keeper, or has ended."""
    if batch.status in ENDED:
        return ""
    kept = keys.OPEN_BATCHES + batch.terms.directory
    until, (seconds, _) = await asyncio.gather(link.command("ZSCORE", kept, batch.terms.id), link.command("TIME"))
    now_ms = int(seconds) * 1000
    if until is None or float(until) > now_ms - LATE_MS:
        return ""
    gateways, others = await asyncio.gather(
        link.command("ZCOUNT", keys.GATEWAYS, now_ms, "+inf"), link.command("ZCOUNT", kept, now_ms, "+inf")
    )
    if others:
        return f"it waits for the end of one of {others} other batches: each process of a gateway keeps a few at a time"
    last = f" (its last keeper was {batch.keeper})" if batch.keeper else ""
    if gateways:
        return f"no running gateway has its files: start `openfall serve` on the host that has them{last}"
    return f"no gateway runs: start `openfall serve` on the host that has its files{last}"
