"""Whether any worker runs: without one nothing moves, and nothing replies to a caller who waits."""

from __future__ import annotations

from openfall.producers.client_store import ClientStore, try_redis
from openfall.router_core.state import keys


async def count_workers(store: ClientStore) -> int | None:
    """The workers that are alive. None: Redis does not answer."""
    now = await try_redis(store.server_time())
    if now is None:
        return None
    return await try_redis(store.connection.command("ZCOUNT", keys.PRESENCE, int(now * 1000), "+inf")) or 0
