"""The conversations of Responses: each item is stored once, and as long as a Response continues it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from openfall.router_core.state import keys
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.stored_responses import (
    MAX_TURNS,
    StoredResponse,
    Unread,
    UnreadConversation,
    delete_response,
    fetch_input,
    fetch_response,
    store_response,
)

FIXED = StoredResponse(producer="bot", asked_for="chat", created_at=1, echo={})
PLENTY = 2**20
LONG_TEXT = "a" * 1000


def on(redis_url: str, work: Callable[[RedisConnection], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with RedisConnection(redis_url) as link:
            return await work(link)

    return asyncio.run(main())


async def converse(link: RedisConnection, turns: int, keep_seconds: float = 100) -> None:
    """A conversation: each Response adds one item."""
    for turn in range(turns):
        previous = f"turn-{turn - 1}" if turn else None
        items = [f"{turn} {LONG_TEXT}"]
        await store_response(link, f"turn-{turn}", FIXED, items, keep_seconds, previous=previous)


def test_a_conversation_of_many_turns_stores_each_item_once_and_is_read_in_order(redis_url: str) -> None:
    async def work(link: RedisConnection) -> None:
        await converse(link, 50)
        items = await fetch_input(link, "turn-49", PLENTY)
        assert [item.split()[0] for item in items] == [str(turn) for turn in range(50)]
        stored = [await link.command("HSTRLEN", f"{keys.RESPONSE}turn-{turn}", "items") for turn in range(50)]
        assert sum(stored) < 50 * (len(LONG_TEXT) + 10)

    on(redis_url, work)


def test_what_stands_before_a_response_is_kept_as_long_as_the_response(redis_url: str) -> None:
    async def work(link: RedisConnection) -> None:
        await converse(link, 3, keep_seconds=100)
        await store_response(link, "last", FIXED, ["x"], 5000, previous="turn-2")
        await store_response(link, "short", FIXED, ["x"], 10, previous="turn-2")
        left = [await link.command("TTL", f"{keys.RESPONSE}turn-{turn}") for turn in range(3)]
        assert all(seconds > 4000 for seconds in left)

    on(redis_url, work)


def test_a_response_that_was_deleted_is_gone_while_those_that_continue_it_stay_whole(redis_url: str) -> None:
    async def work(link: RedisConnection) -> None:
        await converse(link, 3)
        assert [await delete_response(link, each) for each in ("turn-1", "turn-1", "never")] == [True, False, False]
        assert await fetch_response(link, "turn-1") is None
        assert len(await fetch_input(link, "turn-2", PLENTY)) == 3
        assert await delete_response(link, "turn-2")
        assert await link.command("EXISTS", f"{keys.RESPONSE}turn-2") == 0

    on(redis_url, work)


@pytest.mark.parametrize(
    ("why", "damaged"),
    [
        (Unread.GONE, ""), (Unread.LARGE, ""), (Unread.LONG, ""),
        *((Unread.UNREADABLE, damaged) for damaged in (b"\xff", b"", b'[{"a":', b"{}", b"7")),
    ],
)  # fmt: skip
def test_a_conversation_that_is_gone_damaged_too_large_or_too_long_is_not_read(
    redis_url: str, why: Unread, damaged: bytes
) -> None:
    async def work(link: RedisConnection) -> None:
        await converse(link, 3)
        if why is Unread.GONE:
            await link.command("DEL", f"{keys.RESPONSE}turn-0")
        elif why is Unread.LONG:  # the first one is behind as many others as may be read
            await link.command("HSET", f"{keys.RESPONSE}turn-0", "previous", "turn-0")
        elif why is Unread.UNREADABLE:
            await link.command("HSET", f"{keys.RESPONSE}turn-0", "items", damaged)
        with pytest.raises(UnreadConversation) as unread:
            await fetch_input(link, "turn-2", 1500 if why is Unread.LARGE else MAX_TURNS * PLENTY)
        assert unread.value.why is why

    on(redis_url, work)


def test_a_response_does_not_continue_one_that_is_gone(redis_url: str) -> None:
    async def work(link: RedisConnection) -> None:
        with pytest.raises(UnreadConversation):
            await store_response(link, "next", FIXED, ["x"], 100, previous="gone")
        assert await link.command("KEYS", f"{keys.RESPONSE}*") == []

    on(redis_url, work)
