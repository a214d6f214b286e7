"""A dispatcher on a real Valkey with a clock of the test's own, and direct access to its keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import redis

from openfall.router_core.jobs.envelope import pack_result
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.workers.outbox.dispatcher import OutboxDispatcher
from openfall.workers.outbox.outbox_settings import OutboxSettings
from tests.faults import answer
from tests.incidents import open_incident

SECRET = "hunter2"
TOKEN = "token-in-the-path"
JOB = "job-00001"
DONE = f"job:{JOB}:done"
INTERIM = f"job:{JOB}:degraded"
OK = answer({})
START = 1800000000.0
"""Epoch seconds."""


@dataclass
class DispatcherHarness:
    """The dispatcher under test. `time[0]` is its clock."""

    link: RedisConnection
    dispatcher: OutboxDispatcher
    store: redis.Redis
    time: list[float]

    async def run(self) -> None:
        """Dispatch once and wait for every delivery."""
        await self.dispatcher.dispatch()
        await self.dispatcher.wait_idle()

    def add_job(self, url: str, result: Result | None = None, job_id: str = JOB, **fields: Any) -> None:
        """A job that has ended, and its webhook that is due."""
        result = result or Result(id=job_id, status=Status.ANSWERED, body={"message": {"content": "lanterns"}})
        record = {"webhook": f"{url}/{TOKEN}", "ended": int(self.time[0] * 1000), **fields}
        self.store.hset(f"of:job:{job_id}", mapping=record)
        self.store.set(f"of:result:{job_id}", pack_result(result))
        self.add_entry(f"job:{job_id}:done")

    def add_entry(self, entry: str) -> None:
        self.store.zadd("of:outbox", {entry: int(self.time[0] * 1000)}, nx=True)

    def add_incident(self, reason: str = "outage", *notifiers: str, **fields: Any) -> str:
        """An incident as falls leave it, and the notices of its beginning. Returns its id."""
        values = {"falls": 2, "held": 2, "version": 2, "u:interactive": 2, "m:smol": 2, "c:timeout": 2,
                  "s:canned_reply": 2, **fields}  # fmt: skip
        incident = open_incident(self.store, self.time[0], reason, **values)
        for notifier in notifiers or ("discord",):
            self.add_entry(f"notice:{notifier}:{incident}:began")
        return incident

    def delays(self) -> dict[str, float]:
        """Seconds until each entry of the outbox is due."""
        rows = self.store.zrange("of:outbox", 0, -1, withscores=True)
        return {entry.decode(): round(due / 1000 - self.time[0], 1) for entry, due in rows}

    def dead_count(self) -> int:
        """How many webhooks were given up."""
        return int(self.store.hget("of:counters", "webhook_given_up") or 0)


@asynccontextmanager
async def open_dispatcher(redis_url: str, now: list[float], **settings: Any) -> AsyncIterator[DispatcherHarness]:
    """A dispatcher with these settings; `now[0]` is its clock."""
    async with RedisConnection(redis_url, clock=lambda: now[0]) as link:
        dispatcher = OutboxDispatcher(link, OutboxSettings(**settings), lambda: 0.5, lambda: now[0])
        with redis.Redis.from_url(redis_url) as store:
            try:
                yield DispatcherHarness(link, dispatcher, store, now)
            finally:
                await dispatcher.close()
