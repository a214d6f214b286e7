"""The last good answer to a request, which Open Fall may give to a later job with the same request."""

from __future__ import annotations

from openfall.router_core.jobs.envelope import UnreadableEnvelope, unpack_result
from openfall.router_core.jobs.result import Result
from openfall.router_core.state import keys
from openfall.router_core.state.errors import StoreUnreachable
from openfall.router_core.state.redis_connection import RedisConnection


async def fetch_last_answer(link: RedisConnection, key: str) -> Result | None:
    """The result that was remembered under the key of a request. None: there is none, or it cannot be read now."""
    try:
        packed = await link.command("GET", keys.LAST_ANSWER + key)
    except StoreUnreachable:  # not the job's fault: its next remedy applies
        return None
    try:
        return None if packed is None else unpack_result("", packed)
    except UnreadableEnvelope:
        link.notes.add(keys.LAST_ANSWER + key, "has a result that cannot be read")
        return None
