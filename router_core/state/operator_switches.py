"""The switches of an operator: local only, and paused queues. `rq suspend` is one more, which is only read."""

from __future__ import annotations

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_text
from openfall.router_core.state.redis_connection import RedisConnection

_LOCAL_ONLY = "local-only"
"""A field of the blocks, so that a claim reads it together with them."""
NO_REASON = "an operator switched it on"
"""Why no job leaves the local pools, where the operator gave no reason."""


async def local_only(link: RedisConnection) -> str | None:
    """Why jobs must stay in the local pools now; None: they may leave."""
    value = await link.command("HGET", keys.BLOCKED, _LOCAL_ONLY)
    with link.notes.reading(keys.BLOCKED):
        return None if value is None else read_text(value) or NO_REASON


async def set_local_only(link: RedisConnection, on: bool, why: str = "") -> None:
    """Switch on: no claim hands a job to a pool that is not local. Switch off: claims do again."""
    await link.script("operator_switch", {"on": on or None, "why": why or NO_REASON})


async def is_suspended(link: RedisConnection) -> bool:
    """Whether `rq suspend` keeps every worker from its next job."""
    return bool(await link.command("EXISTS", keys.RQ_SUSPENDED))


async def pause_queue(link: RedisConnection, queue: str) -> bool:
    """Pause a queue: no job is claimed from it, but jobs are accepted. False: it was paused already."""
    return bool(await link.script("operator_switch", {"queue": queue, "on": True}))


async def paused_queues(link: RedisConnection) -> list[str]:
    """The paused queues."""
    names = await link.command("SMEMBERS", keys.PAUSED)
    with link.notes.reading(keys.PAUSED):
        return sorted(map(read_text, names))


async def resume_queue(link: RedisConnection, queue: str) -> bool:
    """End a pause. False: it was not paused."""
    return bool(await link.script("operator_switch", {"queue": queue}))
