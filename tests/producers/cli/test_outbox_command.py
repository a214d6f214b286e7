"""`openfall outbox`: what is still to be posted, and what was given up, without a URL."""

from __future__ import annotations

import asyncio
import json
import time

import redis

from openfall.router_core.state import outbox
from openfall.router_core.state.redis_connection import RedisConnection
from tests.producers.cli.conftest import Run


def posted(url: str, *entries: str) -> None:
    """Each entry is tried in vain once, and the last one is given up."""

    async def main() -> None:
        with redis.Redis.from_url(url) as store:
            store.zadd("of:outbox", {entry: int(time.time() * 1000) - 1000 for entry in entries})
            store.hset("of:job:job-00001", "webhook", "https://bot.example/token-in-the-path")
        async with RedisConnection(url) as link:
            taken = {claimed.entry: claimed for claimed in await outbox.claim_entries(link, 8)}
            for entry in entries[:-1]:
                assert await outbox.retry_entry(link, taken[entry], 10800, "HTTP 503")
            assert await outbox.mark_dead(link, taken[entries[-1]], "bot.example:443", "HTTP 410")

    asyncio.run(main())


def test_an_empty_outbox_prints_one_line(openfall: Run) -> None:
    ran = openfall("outbox")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "no notification is pending\n")
    assert json.loads(openfall("outbox", "--json").stdout) == {"waiting": [], "given_up": []}
    assert "failed for good" not in openfall("status").stdout


def test_pending_and_failed_notifications_are_shown_without_their_urls(openfall: Run, redis_url: str) -> None:
    posted(redis_url, "job:job-00001:done", "notice:discord:outage-17:began", "parcel", "job:job-00002:degraded")
    ran = openfall("outbox")
    assert ran.returncode == 0
    rows = {" ".join(row.split()) for row in ran.stdout.splitlines()}
    assert {
        "job job-00001 done 1 in 3h HTTP 503",
        "incident outage-17 began, to discord 1 in 3h HTTP 503",
        "parcel - 1 in 3h HTTP 503",
    } <= rows
    (lost,) = [row for row in rows if row.startswith("job job-00002 degraded 1")]
    assert lost.endswith("ago bot.example:443 HTTP 410")
    as_json = openfall("outbox", "--json").stdout
    listed = json.loads(as_json)
    assert [entry["entry"] for entry in listed["given_up"]] == ["job:job-00002:degraded"]
    assert {entry["notifier"] for entry in listed["waiting"]} == {None, "discord"}
    assert "token" not in ran.stdout + ran.stderr + as_json


def test_the_health_has_the_failed_notifications(openfall: Run, redis_url: str) -> None:
    posted(redis_url, "job:job-00001:done")
    assert (
        "- 1 notification failed for good. See why, and repair their receivers. -> openfall outbox"
        in openfall("status").stdout
    )
    posted(redis_url, "job:job-00002:done")
    status = json.loads(openfall("status", "--json").stdout)
    assert "- 2 notifications failed for good." in status["summary"]
    assert status["dead_letters"] == 2
