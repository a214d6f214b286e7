"""An inbox as a producer reads it: what came of its jobs, until it has acknowledged it, whatever restarts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic_core import from_json

from openfall.router_core.jobs.envelope import UnreadableEnvelope
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.errors import StoreError, StoreUnreachable
from openfall.router_core.state.inbox import (
    READER_TIMEOUT_SECONDS,
    InboxEntry,
    InboxReader,
    acknowledge,
)
from openfall.router_core.state.redis_connection import RedisConnection

log = logging.getLogger("openfall.inbox")

LOOK_BACK = 15.0
"""Seconds between two looks for what silent readers have left, and for what was given to us on a broken connection."""
SIGN_OF_LIFE = READER_TIMEOUT_SECONDS / 3
LOOK_AFTER_OUTAGE = 0.5

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxDelivery(Generic[T_co]):
    """What came of one job: its result, or, of a job that is held, what is replied meanwhile (`final` is False).

    `reply_to` is what the job was put in with. `await ack()` when it is dealt with (the synchronous client's `ack()`
    is no coroutine): before that it is given again after a restart. Bears outages of Redis.
    """

    result: Result
    reply_to: Any
    at: float
    """When it was put in: epoch seconds on the server's clock."""
    ack: Callable[[], T_co] = field(repr=False, compare=False)

    @property
    def job_id(self) -> str:
        return self.result.id

    @property
    def text(self) -> str:
        """What to show: the answer, or the reply of a degraded one. Empty when there is neither: `result` tells."""
        return self.result.text

    @property
    def degraded(self) -> bool:
        return self.result.degraded

    @property
    def final(self) -> bool:
        return self.result.final


async def delivered(
    inbox: InboxReader, link: RedisConnection, name: str, *, follow: bool = True
) -> AsyncGenerator[InboxDelivery[Awaitable[None]], None]:
    """What is in the inbox: first what was not acknowledged before, then what comes. Ends when nothing is left, unless
    `follow`."""
    given: set[str] = set()
    async with inbox:
        alive = asyncio.create_task(_stay_alive(inbox), name="inbox-alive")
        try:
            async for entry in _entries(inbox, given, follow):
                given.add(entry.entry_id)
                try:
                    result = entry.result
                except UnreadableEnvelope as error:
                    log.warning("inbox %s: job %s is left there: %s", name, entry.job_id, error)
                    continue
                reply_to = from_json(entry.reply_to) if entry.reply_to else None
                yield InboxDelivery(result=result, reply_to=reply_to, at=entry.at, ack=_Ack(link, name, entry, given))
        finally:
            await cancel_all(alive)


@dataclass(frozen=True, slots=True)
class _Ack:
    """Acknowledges one entry, however long Redis is away."""

    link: RedisConnection
    name: str
    entry: InboxEntry
    given: set[str]

    async def __call__(self) -> None:
        while True:
            try:
                await acknowledge(self.link, self.name, self.entry)
                break
            except StoreUnreachable:
                await asyncio.sleep(LOOK_AFTER_OUTAGE)
        self.given.discard(self.entry.entry_id)


async def _entries(inbox: InboxReader, given: set[str], follow: bool) -> AsyncIterator[InboxEntry]:
    """Entries that are ours and not in `given`."""
    look_back = float("-inf")
    while True:
        try:
            found: list[InboxEntry] = []
            if time.monotonic() > look_back:
                found = await _left(inbox, given)
                look_back = time.monotonic() + LOOK_BACK
            found = found or await inbox.read_new(*(() if follow else (0.0,)))
        except StoreUnreachable:
            look_back = float("-inf")  # what was on its way to us is ours, and has not come
            await asyncio.sleep(LOOK_AFTER_OUTAGE)
            continue
        for entry in found:
            yield entry
        if not found and not follow:
            return


async def _left(inbox: InboxReader, given: set[str]) -> list[InboxEntry]:
    """What is ours already and has not been given yet, then what silent readers have left."""
    own = [entry for entry in await inbox.heartbeat() if entry not in given]
    found = [entry for id_ in own if (entry := await inbox.read_entry(id_)) is not None]
    return found + [entry for entry in await inbox.claim_abandoned() if entry.entry_id not in given]


async def _stay_alive(inbox: InboxReader) -> None:
    """Whoever reads us may take long over an entry: nobody else is to be given it meanwhile."""
    while True:
        await asyncio.sleep(SIGN_OF_LIFE)
        try:
            await inbox.heartbeat()
        except StoreError:  # whoever reads hears of it
            continue
