"""Sign-ins at the operator's page. A cookie has 256 random bits: only its SHA-256 is kept, with the key that signed
in."""

from __future__ import annotations

from pydantic_core import to_json

from openfall.router_core.state import keys
from openfall.router_core.state.client_keys import ClientKey, KeyRing, digest_of
from openfall.router_core.state.decoding import read_object
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.urgent_write import urgent_command

SESSION_SECONDS = 12 * 3600
"""A sign-in ends this long after its last use."""


async def open_session(link: RedisConnection, cookie: str, key: ClientKey) -> None:
    """Keep a sign-in with a key, also when the memory of Redis is full."""
    packed = to_json({"key": key.digest})
    await urgent_command(link, "SET", keys.PAGE_SESSION + digest_of(cookie), packed, "EX", SESSION_SECONDS)


async def session_key(link: RedisConnection, cookie: str, ring: KeyRing) -> ClientKey | None:
    """The key that signed in with a cookie. None: it has expired or was ended, or the key was revoked."""
    packed = await link.command("GETEX", keys.PAGE_SESSION + digest_of(cookie), "EX", SESSION_SECONDS)
    with link.notes.reading(keys.PAGE_SESSION + "*"):
        fields = read_object(packed) or {}
    return ring.by_digest.get(str(fields.get("key", "")))


async def end_session(link: RedisConnection, cookie: str) -> None:
    await link.command("DEL", keys.PAGE_SESSION + digest_of(cookie))
