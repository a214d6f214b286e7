"""A lock for a task that one process does for the whole fleet."""

from __future__ import annotations

import asyncio

from openfall.router_core.state import keys
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.urgent_write import urgent_command

NO_END = -1
"""How PTTL replies for a key without an end."""


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
