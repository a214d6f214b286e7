"""A post office, and somebody who looks into Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import redis

from openfall.router_core.jobs.envelope import pack_result
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.workers.outbox.dispatcher import OutboxDispatcher, OutboxSettings
from tests.faults import answer
from tests.incidents import open_incident

SECRET = "hunter2"
TOKEN = "token-in-the-path"
JOB = "job-00001"
DONE = f"job:{JOB}:done"
INTERIM = f"job:{JOB}:degraded"
OK = answer({})
BEGINNING = 1800000000.0
"""Epoch seconds."""


@dataclass
class House:
    """A post office with a clock of the test's own, and somebody who looks into Redis."""

    link: RedisConnection
    office: OutboxDispatcher
    store: redis.Redis
    time: list[float]

    async def round(self) -> None:
        await self.office.round()
        await self.office.settle()

    def job(self, url: str, result: Result | None = None, job_id: str = JOB, **fields: Any) -> None:
        """A job that has ended, and its webhook that is due."""
        result = result or Result(id=job_id, status=Status.ANSWERED, body={"message": {"content": "lanterns"}})
        told = {"webhook": f"{url}/{TOKEN}", "ended": int(self.time[0] * 1000), **fields}
        self.store.hset(f"of:job:{job_id}", mapping=told)
        self.store.set(f"of:result:{job_id}", pack_result(result))
        self.put(f"job:{job_id}:done")

    def put(self, entry: str) -> None:
        self.store.zadd("of:outbox", {entry: int(self.time[0] * 1000)}, nx=True)

    def incident(self, reason: str = "outage", *notifiers: str, **fields: Any) -> str:
        """An incident as falls leave it, and the notices of its beginning."""
        told = {"falls": 2, "held": 2, "version": 2, "u:interactive": 2, "m:smol": 2, "c:timeout": 2,
                "s:canned_reply": 2, **fields}  # fmt: skip
        found = open_incident(self.store, self.time[0], reason, **told)
        for notifier in notifiers or ("discord",):
            self.put(f"notice:{notifier}:{found}:began")
        return found

    def waits(self) -> dict[str, float]:
        rows = self.store.zrange("of:outbox", 0, -1, withscores=True)
        return {entry.decode(): round(at / 1000 - self.time[0], 1) for entry, at in rows}

    def given_up(self) -> int:
        return int(self.store.hget("of:counters", "webhook_given_up") or 0)


@asynccontextmanager
async def open_house(redis_url: str, now: list[float], **terms: Any) -> AsyncIterator[House]:
    """A post office of these terms; `now` is its clock."""
    async with RedisConnection(redis_url, clock=lambda: now[0]) as link:
        office = OutboxDispatcher(link, OutboxSettings(**terms), lambda: 0.5, lambda: now[0])
        with redis.Redis.from_url(redis_url) as store:
            try:
                yield House(link, office, store, now)
            finally:
                await office.close()
