"""The events of a job: a list in Redis whose index is the cursor, and a channel that announces new ones.

An announcement carries its event and the index, so a reader who has read all before it needs not read the list.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection

from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.state import keys
from openfall.router_core.state.cancellation import cancel_all, keep_cancel, start_background
from openfall.router_core.state.decoding import read_number, read_object
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.redis_pool import open_redis
from openfall.router_core.state.unreadable_notes import note_unreadable

POLL_INTERVAL_SECONDS = 2.0
"""Seconds after which a subscriber reads without an announcement: one can be missed."""

MAX_ANNOUNCEMENTS = 64
"""Announcements that a subscription holds. A reader who is slower reads the list."""


class Announcement(NamedTuple):
    """A new event (JSON), and the length of the list with it. Length 0: read the list."""

    length: int = 0
    event: bytes = b""


def continue_from(cursor: int, announced: Sequence[Announcement]) -> list[dict[str, Any]] | None:
    """The announced events after a cursor. None: they are not all there is, so read the list."""
    if not announced:
        return None
    events = []
    for item in announced:
        if item.length == 0 or item.length > cursor + 1:
            return None
        if item.length > cursor:
            cursor += 1
            events.append(_event(item.event))
    return events


async def read_events(link: RedisConnection, job_id: str, start: int = 0) -> list[dict[str, Any]]:
    """The events of a job from an index on, oldest first. Each has `event` and `at` (ms, server clock)."""
    rows = await link.command("LRANGE", keys.EVENTS + job_id, start, -1)
    with link.notes.reading(keys.EVENTS + job_id):
        return [_event(row) for row in rows]


_NUMBER = (int, float)
_FALL: Mapping[str, Any] = {"reason": str, "detail": str}
_CALL: Mapping[str, Any] = {"backend": str, "model": str, "seconds": _NUMBER}
_REQUIRED: Mapping[str, Mapping[str, Any]] = {
    "queued": {"queue": str, "position": int}, "scheduled": {"queue": str, "due": _NUMBER, "at": _NUMBER},
    "started": {"backend": str}, "fallen": _FALL, "held": _FALL, "degraded": _FALL, "loading": _CALL,
    "waiting": {**_CALL, "limit_seconds": _NUMBER}, "put_back": {"why": str},
    "writing": {"model": str, "characters": int, "text_characters": int},
}  # fmt: skip
"""The fields, by event, without which its readers could not describe it. An unknown event is carried."""


def _has_fields(event: Mapping[str, Any]) -> bool:
    required = {"event": str, **_REQUIRED.get(str(event.get("event")), {})}
    return isinstance(event.get("at", 0), _NUMBER) and all(
        isinstance(event.get(field), kind) for field, kind in required.items()
    )


def _event(row: bytes) -> dict[str, Any]:
    """An event; `unreadable` for anything else: the index of the others is their cursor."""
    event = read_object(row)
    if event is not None and _has_fields(event):
        return event
    if event is not None:
        note_unreadable("has another shape")
    return {"event": "unreadable", "at": 0}


class Listener(Protocol):
    """Receives the announcements of a job's events."""

    def announce(self, announced: Announcement) -> None: ...


class EventHub:
    """One Redis subscription for any number of jobs. It may miss announcements; the events are in the list."""

    def __init__(self, server: RedisServer | str) -> None:
        self._redis = open_redis(server, block=POLL_INTERVAL_SECONDS)
        self._pubsub = self._redis.pubsub(ignore_subscribe_messages=False)
        self._subscriptions: dict[bytes, set[Listener]] = defaultdict(set)
        """By channel."""
        self._has_subscribers = asyncio.Event()
        self._lock = asyncio.Lock()  # two first subscriptions would open a connection each, and redis-py loses one
        self._closed = False
        self._reader: asyncio.Task[None] | None = None

    async def close(self) -> None:
        self._closed = True
        for subscription in chain.from_iterable(map(tuple, self._subscriptions.values())):
            subscription.announce(Announcement())  # its readers see the end now
        await cancel_all(self._reader)
        await self._disconnect()

    async def _disconnect(self) -> None:
        async with self._lock:
            with contextlib.suppress(redis_errors.RedisError, OSError):
                await self._pubsub.aclose()  # type: ignore[no-untyped-call]
            await self._redis.aclose()

    def subscribe(self, job_id: str) -> EventSubscription:
        """A subscription to one job. Enter it before the first read, so that no event is missed."""
        return EventSubscription(self, job_id)

    async def add(self, job_id: str, subscription: Listener) -> None:
        channel = _channel(job_id)
        self._subscriptions[channel].add(subscription)
        if self._reader is None:
            self._reader = start_background(self._read(), "job-events")
        if len(self._subscriptions[channel]) == 1:
            with keep_cancel(), contextlib.suppress(redis_errors.RedisError, OSError):
                async with self._lock:
                    await self._pubsub.subscribe(channel)
        self._has_subscribers.set()

    async def remove(self, job_id: str, subscription: Listener) -> None:
        channel = _channel(job_id)
        self._subscriptions[channel].discard(subscription)
        if not self._subscriptions[channel]:
            del self._subscriptions[channel]
            with keep_cancel(), contextlib.suppress(redis_errors.RedisError, OSError):
                async with self._lock:
                    if not self._closed:  # a forgotten subscription ends when its generator is collected
                        await self._pubsub.unsubscribe(channel)

    async def _read(self) -> None:
        try:
            await self._read_all()
        except asyncio.CancelledError:  # also when `asyncio.run` ends without a call of `close`
            await self._disconnect()
            raise

    async def _read_all(self) -> None:
        while True:
            await self._has_subscribers.wait()
            try:
                await self._catch_up()
                if not self._pubsub.subscribed:
                    self._has_subscribers.clear()
                    continue
                message = await self._pubsub.get_message(timeout=POLL_INTERVAL_SECONDS)
                if message is not None:
                    self._take(message)
                    await self._read_messages()
            except (redis_errors.RedisError, OSError):
                await asyncio.sleep(0.2)  # the connection is down; subscribers poll meanwhile

    async def _catch_up(self) -> None:
        """Subscribe and unsubscribe what could not be while the connection was down."""
        async with self._lock:
            wanted, known = self._subscriptions.keys(), self._pubsub.channels.keys()
            if missing := wanted - known:
                await self._pubsub.subscribe(*missing)
            if extra := known - wanted - self._pubsub.pending_unsubscribe_channels:
                await self._pubsub.unsubscribe(*extra)

    async def _read_messages(self) -> None:
        """Read messages of an open connection for a while. redis-py's own method sets a timer and a retry for each
        message, which costs more than all the rest of an event."""
        connection: AbstractConnection | None = self._pubsub.connection
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_INTERVAL_SECONDS):
                while connection is not None and self._pubsub.subscribed:
                    reply = await connection.read_response(
                        timeout=math.inf, disconnect_on_error=False, push_request=True
                    )
                    if reply[0] == b"message":
                        self._announce(reply[1], reply[2])
                    else:  # redis-py keeps account of confirmations
                        self._take(await self._pubsub.handle_message(reply))  # type: ignore[no-untyped-call]

    def _take(self, message: dict[str, Any]) -> None:
        self._announce(message["channel"], message["data"] if message["type"] == "message" else None)

    def _announce(self, channel: bytes, data: bytes | None) -> None:
        """Pass a message on to the subscribers. A confirmation has no event: those before it were missed."""
        announced = Announcement()
        if data:
            length, _, event = data.partition(b" ")
            announced = Announcement(read_number(length), event)
        for subscription in self._subscriptions.get(channel, ()):
            subscription.announce(announced)


def _channel(job_id: str) -> bytes:
    return (keys.JOB_CHANGED + job_id).encode()


class EventSubscription:
    """`await next_events()` returns what was announced since then, or nothing after `POLL_INTERVAL_SECONDS` or a little
    more. One subscription has one timer, not each wait: 500 streams wait 10,000 times a second."""

    def __init__(self, hub: EventHub, job_id: str) -> None:
        self._hub, self._job_id = hub, job_id
        self._announced: deque[Announcement] = deque(maxlen=MAX_ANNOUNCEMENTS)
        self._waiting: asyncio.Future[None] | None = None
        self._is_quiet = False
        """Nothing was announced since the timer has last fired."""
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> EventSubscription:
        await self._hub.add(self._job_id, self)
        self._poll()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._hub.remove(self._job_id, self)

    def announce(self, announced: Announcement) -> None:
        self._announced.append(announced)
        self._is_quiet = False
        self._wake()

    def _poll(self) -> None:
        """Wake the reader of a subscription that is quiet: an announcement can be missed."""
        self._timer = asyncio.get_running_loop().call_later(POLL_INTERVAL_SECONDS, self._poll)
        if self._is_quiet:
            self._wake()
        self._is_quiet = True

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def next_events(self) -> list[Announcement]:
        if not self._announced:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        announced = list(self._announced)
        self._announced.clear()
        return announced
