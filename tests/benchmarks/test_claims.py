"""The measure of what breakers cost: what is cut from the script is there, and what is left of it still claims."""

from __future__ import annotations

import asyncio

import pytest
import redis
from rich.console import Console

from benchmarks.claims import NO_CALL, VARIANTS, BareLink, measure
from openfall.router_core.state import scripts
from openfall.router_core.state.redis_connection import RedisConnection


def test_a_claim_without_breakers_reads_none_and_is_otherwise_the_same(server):
    bare = BareLink(RedisConnection(server.url)).library
    whole = scripts.load("claim").library.decode()
    assert 0 < len(whole) - len(bare) < 100
    assert "'HGETALL', BLOCKED" not in bare


@pytest.mark.slow
def test_every_variant_is_measured(server):
    async def story():
        with redis.Redis.from_url(server.url) as store:
            async with RedisConnection(server.url) as link:
                return await measure(link, store, 1, Console(quiet=True))

    *claims, settles = asyncio.run(story())
    assert [[row.name for row in sheet.rows] for sheet in claims] == [list(VARIANTS)] * 2
    assert settles.to == NO_CALL
    for sheet in (*claims, settles):
        assert all(row.figures["usec"].median > 0 for row in sheet.rows)
        assert all(sheet.ratio_of(row) for row in sheet.rows)
