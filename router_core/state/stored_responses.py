"""What a Response of the HTTP gateway repeats of its request, and the items of its input, for the Responses that
continue it. Both are kept as long as its result, and as long as the last Response that continues it.

A Response keeps the items that it adds to its conversation, and the id of the Response before it: so a conversation of
many turns is stored once.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json, to_json

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import EpochSeconds, read_model
from openfall.router_core.state.jobs import LARGE_BODY_BYTES
from openfall.router_core.state.redis_connection import RedisConnection

MAX_TURNS = 1_000
"""Responses of one conversation."""


class StoredResponse(BaseModel):
    """The fixed part of a Response. `created_at`: epoch seconds. `echo`: the fields of its request."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    producer: str
    asked_for: str
    created_at: EpochSeconds
    echo: dict[str, Any]


class Unread(StrEnum):
    """Why the items of a conversation are not read."""

    GONE = "gone"
    UNREADABLE = "unreadable"
    LARGE = "large"
    LONG = "long"


class UnreadConversation(Exception):
    """The items of a conversation are gone, or are more than may be read."""

    def __init__(self, why: Unread) -> None:
        super().__init__(why.value)
        self.why = why


async def store_response(  # noqa: PLR0913 - one is a keyword
    link: RedisConnection,
    job_id: str,
    response: StoredResponse,
    items: list[Any],
    keep_seconds: float,
    *,
    previous: str | None = None,
) -> None:
    """Keep a Response, with the items that it adds to the conversation of the `previous` one. Raises
    `UnreadConversation`."""
    arguments = {
        "id": job_id,
        "keep_s": max(1, int(keep_seconds)),
        "previous": previous,
        "max_turns": MAX_TURNS,
    }
    (stored,) = await link.script("response_store", arguments, response.model_dump_json(), to_json(items))
    if not stored:
        raise UnreadConversation(Unread.GONE)


async def fetch_input(link: RedisConnection, job_id: str, max_bytes: int) -> list[Any]:
    """The items of the conversation up to the request of a Response. Raises `UnreadConversation`."""
    arguments = {"id": job_id, "max_bytes": max_bytes, "max_turns": MAX_TURNS}
    state, *rows = await link.script("response_items", arguments)
    if state != b"whole":
        raise UnreadConversation(Unread(state.decode()))
    try:
        if sum(map(len, rows)) <= LARGE_BODY_BYTES:
            return _parse_items(rows)
        return await asyncio.to_thread(_parse_items, rows)
    except ValueError:
        link.notes.add(keys.RESPONSE + job_id, "has items that cannot be read")
        raise UnreadConversation(Unread.UNREADABLE) from None


def _parse_items(rows: list[bytes]) -> list[Any]:
    """The items of all requests. Raises `ValueError`: a conversation without one of them would be another one."""
    lists = [from_json(row) for row in rows]
    if not all(isinstance(items, list) for items in lists):
        raise ValueError("no list")
    return [item for items in lists for item in items]


async def fetch_response(link: RedisConnection, job_id: str) -> StoredResponse | None:
    """None: there is none, it was deleted, or it cannot be read."""
    packed = await link.command("HGET", keys.RESPONSE + job_id, "response")
    with link.notes.reading(keys.RESPONSE + job_id):
        return read_model(StoredResponse, packed)


async def delete_response(link: RedisConnection, job_id: str) -> bool:
    """Forget a Response. Those that continue it stay whole. False: there was none."""
    (existed,) = await link.script("response_delete", {"id": job_id})
    return bool(existed)
