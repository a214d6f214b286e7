"""What happened to a job, as it happens: a list in Redis whose index is the cursor, and a channel that says 'look'."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from types import TracebackType
from typing import Any

from pydantic_core import from_json
from redis import exceptions as redis_errors

from openfall.router_core.state import keys
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.redis_connection import RedisConnection, open_redis

POLL_INTERVAL_SECONDS = 2.0
"""Seconds after which a listener looks by itself: the channel is only a bell, and a bell can be missed."""


async def read_events(link: RedisConnection, job_id: str, start: int = 0) -> list[dict[str, Any]]:
    """The events of a job from an index on, oldest first. Each has `event` and `at` (ms, server clock)."""
    return [from_json(row) for row in await link.command("LRANGE", keys.EVENTS + job_id, start, -1)]


class EventHub:
    """One subscription for any number of jobs. Wakes those who wait; the truth is in Redis, not in the message."""

    def __init__(self, url: str) -> None:
        self._redis = open_redis(url, block=POLL_INTERVAL_SECONDS)
        self._pubsub = self._redis.pubsub(ignore_subscribe_messages=False)
        self._listeners: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._wanted = asyncio.Event()
        self._turn = asyncio.Lock()  # redis-py opens a connection for each of two first subscriptions, and loses one
        self._closed = False
        self._reader: asyncio.Task[None] | None = None

    async def close(self) -> None:
        await cancel_all(self._reader)
        async with self._turn:
            self._closed = True
            with contextlib.suppress(redis_errors.RedisError, OSError):
                await self._pubsub.aclose()  # type: ignore[no-untyped-call]
            await self._redis.aclose()

    def subscribe(self, job_id: str) -> EventSubscription:
        """A listener on one job, to be entered before the first look, so that nothing falls between."""
        return EventSubscription(self, job_id)

    async def add(self, job_id: str, listener: asyncio.Event) -> None:
        self._listeners[job_id].add(listener)
        if self._reader is None:
            self._reader = asyncio.create_task(self._read(), name="news")
        if len(self._listeners[job_id]) == 1:
            with contextlib.suppress(redis_errors.RedisError, OSError):
                async with self._turn:
                    await self._pubsub.subscribe(keys.JOB_CHANGED + job_id)
        self._wanted.set()

    async def remove(self, job_id: str, listener: asyncio.Event) -> None:
        self._listeners[job_id].discard(listener)
        if not self._listeners[job_id]:
            del self._listeners[job_id]
            with contextlib.suppress(redis_errors.RedisError, OSError):
                async with self._turn:
                    if not self._closed:  # a listener that was forgotten is only found when its generator is collected
                        await self._pubsub.unsubscribe(keys.JOB_CHANGED + job_id)

    async def _read(self) -> None:
        while True:
            await self._wanted.wait()
            if not self._pubsub.subscribed:
                self._wanted.clear()
                continue
            try:
                message = await self._pubsub.get_message(timeout=POLL_INTERVAL_SECONDS)
            except (redis_errors.RedisError, OSError):
                await asyncio.sleep(0.2)  # the connection is down; listeners look by themselves meanwhile
                continue
            if message is not None:
                job_id = message["channel"].decode().removeprefix(keys.JOB_CHANGED)
                for listener in self._listeners.get(job_id, ()):
                    listener.set()


class EventSubscription:
    """`await changed()` returns when there may be something new, or after `LOOK_AGAIN` seconds."""

    def __init__(self, news: EventHub, job_id: str) -> None:
        self._news, self._job_id = news, job_id
        self._bell = asyncio.Event()

    async def __aenter__(self) -> EventSubscription:
        await self._news.add(self._job_id, self._bell)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._news.remove(self._job_id, self._bell)

    async def wait_changed(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_INTERVAL_SECONDS):
                await self._bell.wait()
        self._bell.clear()
