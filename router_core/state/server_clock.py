"""The clock of the Redis server, by which all moments in Redis are written."""

from __future__ import annotations

from openfall.router_core.state.redis_connection import RedisConnection


async def fetch_server_time(link: RedisConnection) -> float:
    """Now, in epoch seconds. Raises `StoreError`."""
    seconds, micros = await link.command("TIME")
    return int(seconds) + int(micros) / 1e6
