"""Whether Redis has room for more: looked at by the workers, heeded by `accept`."""

from __future__ import annotations

from openfall.router_core.state import keys
from openfall.router_core.state.redis_connection import RedisConnection

LOOK_EVERY = 1.0
"""Seconds for which one look is good for the whole fleet."""
LASTS = 5.0
"""Seconds for which nothing is accepted after a look that found no room: without workers nobody refuses for ever."""


async def check_memory(link: RedisConnection, limit: float) -> str:
    """Refuse jobs if more than `limit` of `maxmemory` is used, else take them again. Why, when that begins; else empty.

    Without a `maxmemory` nothing is ever refused.
    """
    told = await link.script("press", limit, int(LOOK_EVERY * 800), int(LASTS * 1000))
    return str(told.decode())


async def memory_pressure(link: RedisConnection) -> str | None:
    """Why nothing is accepted now; None: it is."""
    told = await link.command("GET", keys.PRESSURE)
    return None if told is None else str(told.decode())
