"""Reads an inbox: every delivery repeats until its reader acknowledges it, across restarts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from openfall.producers.client_store import OUTAGE_POLL_SECONDS
from openfall.router_core.jobs.envelope import UnreadableEnvelope
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.cancellation import cancel_all, start_background
from openfall.router_core.state.errors import StoreError, StoreUnreachable
from openfall.router_core.state.inbox import (
    READER_TIMEOUT_SECONDS,
    InboxEntry,
    InboxReader,
    acknowledge,
    read_entry_result,
    read_reply_to,
)
from openfall.router_core.state.redis_connection import RedisConnection

log = logging.getLogger("openfall.inbox")

RECLAIM_INTERVAL_SECONDS = 15.0
"""Pause between two checks for entries of silent readers, and for our own that a broken connection lost."""
HEARTBEAT_SECONDS = READER_TIMEOUT_SECONDS / 3

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxDelivery(Generic[T_co]):
    """The result of one job, or the interim reply of a held one (`final` is False).

    `reply_to` is the value that the job was submitted with. `await ack()` (`ack()` in the synchronous client) once the
    delivery is handled: until then it comes again after a restart. `ack` survives outages of Redis.
    """

    result: Result
    reply_to: Any
    created_at: float
    """When the entry was written: epoch seconds on the server's clock."""
    ack: Callable[[], T_co] = field(repr=False, compare=False)

    @property
    def job_id(self) -> str:
        return self.result.id

    @property
    def text(self) -> str:
        """The text to show: the answer or the interim reply; empty if there is neither. `result` has the reason."""
        return self.result.text

    @property
    def degraded(self) -> bool:
        return self.result.degraded

    @property
    def final(self) -> bool:
        return self.result.final


async def read_inbox(
    inbox: InboxReader, connection: RedisConnection, name: str, *, follow: bool = True
) -> AsyncGenerator[InboxDelivery[Awaitable[None]], None]:
    """The deliveries of an inbox: the unacknowledged ones first, then new ones. Without `follow` it ends when the
    inbox is empty."""
    unacknowledged: set[str] = set()
    async with inbox:
        heartbeat = start_background(_heartbeat(inbox), "inbox-heartbeat")
        try:
            async for entry in _entries(inbox, unacknowledged, follow):
                unacknowledged.add(entry.entry_id)
                try:
                    result = read_entry_result(connection, name, entry)
                except UnreadableEnvelope as error:
                    log.warning("inbox %s: job %s stays in the inbox: %s", name, entry.job_id, error)
                    continue
                yield InboxDelivery(
                    result=result,
                    reply_to=read_reply_to(connection, name, entry),
                    created_at=entry.at,
                    ack=_Ack(connection, name, entry, unacknowledged),
                )
        finally:
            await cancel_all(heartbeat)


@dataclass(frozen=True, slots=True)
class _Ack:
    """Acknowledges one entry. Repeats until Redis answers."""

    connection: RedisConnection
    inbox: str
    entry: InboxEntry
    unacknowledged: set[str]

    async def __call__(self) -> None:
        while True:
            try:
                await acknowledge(self.connection, self.inbox, self.entry)
                break
            except StoreUnreachable:
                await asyncio.sleep(OUTAGE_POLL_SECONDS)
        self.unacknowledged.discard(self.entry.entry_id)


async def _entries(inbox: InboxReader, unacknowledged: set[str], follow: bool) -> AsyncIterator[InboxEntry]:
    """Entries that belong to this reader and are not in `unacknowledged`."""
    reclaim_at = float("-inf")
    while True:
        try:
            entries: list[InboxEntry] = []
            if time.monotonic() > reclaim_at:
                entries = await _reclaim(inbox, unacknowledged)
                reclaim_at = time.monotonic() + RECLAIM_INTERVAL_SECONDS
            entries = entries or await inbox.read_new(*(() if follow else (0.0,)))
        except StoreUnreachable:
            reclaim_at = float("-inf")  # the lost reply may have assigned entries to this reader
            await asyncio.sleep(OUTAGE_POLL_SECONDS)
            continue
        for entry in entries:
            yield entry
        if not entries and not follow:
            return


async def _reclaim(inbox: InboxReader, unacknowledged: set[str]) -> list[InboxEntry]:
    """This reader's entries from before, then those of silent readers."""
    own = [entry_id for entry_id in await inbox.heartbeat() if entry_id not in unacknowledged]
    entries = [entry for entry_id in own if (entry := await inbox.read_entry(entry_id)) is not None]
    return entries + [entry for entry in await inbox.claim_abandoned() if entry.entry_id not in unacknowledged]


async def _heartbeat(inbox: InboxReader) -> None:
    """Keep the reader's entries from other readers, however long it takes over one."""
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        try:
            await inbox.heartbeat()
        except StoreError:  # the reading loop meets the same error and handles it
            continue
