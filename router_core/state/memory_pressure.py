"""Whether Redis has room for further jobs: one worker checks it for the whole fleet."""

from __future__ import annotations

from openfall.router_core.state.decoding import read_text
from openfall.router_core.state.redis_connection import RedisConnection

MEMORY_CHECK_INTERVAL_SECONDS = 1.0
"""Seconds for which one check is good for the whole fleet."""
MEMORY_PRESSURE_TTL_SECONDS = 5.0
"""Seconds for which no job is accepted after a check found no room. It ends by itself when no worker is left to
check."""


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
