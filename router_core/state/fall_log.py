"""The log of falls: who fell, why, what was tried, what the user saw. Bounded, and without prompts and answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pydantic_core import from_json

from openfall.router_core.state import keys
from openfall.router_core.state.redis_connection import RedisConnection, pairs

AT_ONCE = 256


async def read_falls(link: RedisConnection, since: float | None = None) -> AsyncIterator[dict[str, Any]]:
    """The records of falls (see `router_core.falls`), oldest first, from `since` (epoch seconds) on."""
    start = "-" if since is None else str(max(0, int(since * 1000)))
    while True:
        rows = await link.command("XRANGE", keys.FALLS, start, "+", "COUNT", AT_ONCE)
        for row in rows:
            yield from_json(pairs(row[1])["fall"])
        if len(rows) < AT_ONCE:
            return
        start = f"({rows[-1][0].decode()}"
