"""The status of the fleet: exact whatever the queues hold, and cheap where they are empty."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from openfall.router_core.state.fleet_status import FleetStatus, fetch_status
from openfall.router_core.state.operator_switches import pause_queue
from openfall.router_core.state.redis_connection import RedisConnection

QUEUES = 300


def queue_name(number: int) -> str:
    return f"gpu.m{number}.batch"


def fill(store: redis.Redis, busy: dict[int, int], started: dict[int, int], scheduled: dict[int, int]) -> int:
    """300 queues, a few of which have jobs; returns the present moment (ms)."""
    now = int(time.time() * 1000)
    store.sadd("rq:queues", *(f"rq:queue:{queue_name(number)}" for number in range(QUEUES)))
    for number, jobs in busy.items():
        for job in range(jobs):
            store.rpush(f"rq:queue:{queue_name(number)}", f"{number}-{job}")
            store.hset(f"of:job:{number}-{job}", "accepted", now - 60_000 + job)
            if job % 2 == 0:  # the index of jobs may have lost some
                store.zadd("of:jobs", {f"{number}-{job}": now - 60_000 + job})
    for kind, counts in (("wip", started), ("scheduled", scheduled)):
        for number, jobs in counts.items():
            store.zadd(f"rq:{kind}:{queue_name(number)}", {f"{kind}{job}": 1 for job in range(jobs)})
    return now


@asynccontextmanager
async def reader(url: str) -> AsyncIterator[RedisConnection]:
    async with RedisConnection(url) as link:
        yield link


def status_of(url: str, known: FleetStatus | None = None) -> FleetStatus:
    async def read() -> FleetStatus:
        async with reader(url) as link:
            return await fetch_status(link, known)

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("busy", "started", "scheduled"),
    [
        ({}, {}, {}),
        ({0: 1}, {}, {299: 3}),
        ({63: 2, 64: 5, 127: 1, 128: 1}, {63: 1, 65: 2}, {}),
        ({number: 1 for number in range(0, QUEUES, 2)}, {number: 2 for number in range(1, QUEUES, 3)}, {}),
        ({number: 2 for number in range(QUEUES)}, {}, {number: 1 for number in range(QUEUES)}),
    ],
    ids=["none", "the first and the last", "around a part", "every second", "all"],
)
def test_each_queue_has_its_own_counts_whichever_others_are_empty(
    redis_url: str, busy: dict[int, int], started: dict[int, int], scheduled: dict[int, int]
) -> None:
    now = fill(redis.Redis.from_url(redis_url), busy, started, scheduled)
    rows = {row.name: row for row in status_of(redis_url).queues}
    assert len(rows) == QUEUES
    for number in range(QUEUES):
        row = rows[queue_name(number)]
        counts = (busy.get(number, 0), started.get(number, 0), scheduled.get(number, 0))
        assert (row.waiting, row.started, row.scheduled) == counts
        assert (row.oldest_seconds is None) == (number not in busy)
        assert row.oldest_seconds is None or abs(row.oldest_seconds - 60.0) < time.time() - now / 1000 + 1.0


def commands_run(store: redis.Redis) -> int:
    """All commands since the statistics were reset, those of scripts too."""
    stats: Any = store.info("commandstats")
    return sum(row["calls"] for row in stats.values())


@pytest.mark.parametrize(("busy", "most"), [(0, 60), (10, 200), (QUEUES, 700)])
def test_an_empty_queue_costs_no_command_of_its_own(redis_url: str, busy: int, most: int) -> None:
    store = redis.Redis.from_url(redis_url)
    fill(store, {number * (QUEUES // busy): 1 for number in range(busy)} if busy else {}, {}, {})
    status_of(redis_url)
    store.config_resetstat()
    status_of(redis_url)
    assert commands_run(store) <= most


def test_queues_that_are_not_read_again_keep_their_moment_and_show_a_new_pause(redis_url: str) -> None:
    store = redis.Redis.from_url(redis_url)
    fill(store, {7: 2}, {}, {})
    first = status_of(redis_url)
    store.rpush(f"rq:queue:{queue_name(8)}", "later")

    async def pause() -> None:
        async with reader(redis_url) as link:
            await pause_queue(link, queue_name(7))

    asyncio.run(pause())
    second = status_of(redis_url, first)
    rows = {row.name: row for row in second.queues}
    assert (rows[queue_name(7)].waiting, rows[queue_name(7)].paused, rows[queue_name(8)].waiting) == (2, True, 0)
    assert second.now > second.queues_at == first.now
    assert {row.name: row.waiting for row in status_of(redis_url).queues}[queue_name(8)] == 1
