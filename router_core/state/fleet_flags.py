"""Flags of the whole fleet: local only, suspended, memory pressure, locks."""

from __future__ import annotations

import asyncio

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_text
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.urgent_write import urgent_command

MEMORY_CHECK_INTERVAL_SECONDS = 1.0
"""Seconds for which one check is good for the whole fleet."""
MEMORY_PRESSURE_TTL_SECONDS = 5.0
"""Seconds for which no job is accepted after a check found no room. It ends by itself when no worker is left to
check."""

NO_END = -1
"""How PTTL replies for a key without an end."""

_LOCAL_ONLY = "local-only"
"""A field of the blocks, so that a claim reads it together with them."""
NO_REASON = "an operator switched it on"
"""Why no job leaves the local pools, where the operator gave no reason."""


async def local_only(link: RedisConnection) -> str | None:
    """Why jobs must stay in the local pools now; None: they may leave."""
    value = await link.command("HGET", keys.BLOCKED, _LOCAL_ONLY)
    with link.notes.reading(keys.BLOCKED):
        return None if value is None else read_text(value)


async def set_local_only(link: RedisConnection, on: bool, why: str = "") -> None:
    """Switch on: no claim hands a job to a pool that is not local. Switch off: claims do again."""
    if on:
        await urgent_command(link, "HSET", keys.BLOCKED, _LOCAL_ONLY, why or NO_REASON)
    else:
        await link.command("HDEL", keys.BLOCKED, _LOCAL_ONLY)


async def try_lock(link: RedisConnection, name: str, seconds: float) -> bool:
    """True for the first caller in the fleet within `seconds`: one worker does it for all."""
    lock = keys.LOCK + name
    take = ("SET", lock, 1, "NX", "PX", int(seconds * 1000))
    taken, rest_ms = await asyncio.gather(urgent_command(link, *take), link.command("PTTL", lock))
    # Another program wrote it, or the server's clock was set back since: it would hold for too long.
    if taken is None and (rest_ms == NO_END or rest_ms > int(seconds * 1000)):
        await link.command("DEL", lock)
        taken = await urgent_command(link, *take)
    return taken is not None


async def check_memory(link: RedisConnection, limit: float) -> str:
    """Refuse jobs while more than `limit` of `maxmemory` is used. Returns why, when that begins; else empty.

    Without a `maxmemory` no job is ever refused.
    """
    arguments = {
        "max_share": limit,
        "check_ms": int(MEMORY_CHECK_INTERVAL_SECONDS * 800),
        "pressure_ms": int(MEMORY_PRESSURE_TTL_SECONDS * 1000),
    }
    return read_text(await link.script("memory_pressure", arguments))


async def is_suspended(link: RedisConnection) -> bool:
    """Whether `rq suspend` keeps every worker from its next job."""
    return bool(await link.command("EXISTS", keys.RQ_SUSPENDED))
