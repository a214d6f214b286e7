"""Inboxes: results of a producer's jobs, kept until acknowledged. The scripts that end or hold jobs write them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from openfall.router_core.jobs.envelope import UnreadableEnvelope, unpack_result
from openfall.router_core.jobs.result import Result
from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_json, read_moment, read_text
from openfall.router_core.state.errors import StoreRefused
from openfall.router_core.state.redis_connection import RedisConnection, pairs

GROUP = "readers"
READER_TIMEOUT_SECONDS = 60.0
"""Seconds without a heartbeat after which another reader takes over the entries that a reader has not acknowledged."""
BLOCK_SECONDS = 2.0
"""Seconds for which a read waits for a new entry: less than the reply timeout of a connection."""
BATCH_SIZE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxEntry:
    """One entry. `kind`: done, or degraded (the job is held, its result comes later). `at`: epoch seconds, server
    clock.

    `reply_to` is JSON, or empty.
    """

    entry_id: str
    job_id: str
    kind: str
    at: float
    reply_to: bytes
    packed_result: bytes

    @property
    def result(self) -> Result:
        """Raises `UnreadableEnvelope` for an entry of a newer openfall."""
        return unpack_result(self.job_id, self.packed_result)


class InboxReader:
    """One reader of an inbox. Several can share it: each entry is given to one of them, until that one sends no
    heartbeat for `READER_TIMEOUT_SECONDS`.

    `link` is shared; reads that wait have a connection of their own. Calls raise `StoreError`.
    """

    def __init__(self, link: RedisConnection, name: str, reader: str) -> None:
        self._link, self._own = link, RedisConnection(link.server)
        self._name, self._reader, self._key = name, reader, keys.INBOX + name

    async def __aenter__(self) -> InboxReader:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._own.close()

    async def heartbeat(self) -> list[str]:
        """Report this reader as alive. Returns the entries that it has not acknowledged, oldest first."""
        own: list[str] = []
        while True:
            after = f"({own[-1]}" if own else "-"
            arguments = {
                "inbox": self._name,
                "group": GROUP,
                "reader": self._reader,
                "limit": BATCH_SIZE,
                "after": after,
            }
            page = await self._link.script("inbox_heartbeat", arguments)
            own += [entry.decode() for entry in page]
            if len(page) < BATCH_SIZE:
                return own

    async def read_entry(self, entry: str) -> InboxEntry | None:
        """One entry of this reader. None: it has expired, and is now acknowledged."""
        rows = await self._link.command("XRANGE", self._key, entry, entry)
        if not rows:
            await self._link.command("XACK", self._key, GROUP, entry)
        return _entry(self._link, self._name, rows[0]) if rows else None

    async def claim_abandoned(self) -> list[InboxEntry]:
        """Take over the entries of readers that timed out."""
        silent = int(READER_TIMEOUT_SECONDS * 1000)
        reply = await self._link.command(
            "XAUTOCLAIM", self._key, GROUP, self._reader, silent, "0-0", "COUNT", BATCH_SIZE
        )
        return [_entry(self._link, self._name, row) for row in reply[1] if row[1] is not None]

    async def read_new(self, block: float = BLOCK_SECONDS) -> list[InboxEntry]:
        """A new entry: one at a time, so that readers share fairly. `block`: seconds; 0: do not wait."""
        wait = ("BLOCK", int(block * 1000)) if block else ()
        command = ("XREADGROUP", "GROUP", GROUP, self._reader, "COUNT", 1, *wait)
        try:
            reply = await self._own.command(*command, "STREAMS", self._key, ">")
        except StoreRefused as error:
            if "NOGROUP" not in str(error):
                raise
            await self.heartbeat()  # Redis was emptied meanwhile
            return []
        return [_entry(self._link, self._name, row) for _, rows in reply or () for row in rows]


@dataclass(frozen=True, slots=True)
class InboxSize:
    """How many results wait in an inbox, and since when the oldest of them does (epoch seconds)."""

    name: str
    entries: int
    oldest_at: float


async def list_inboxes(link: RedisConnection) -> list[InboxSize]:
    """The inboxes with results that no program has acknowledged, the fullest first."""
    names = await link.command("ZRANGE", keys.INBOXES, 0, -1)
    sizes = await asyncio.gather(*(_size(link, read_text(name)) for name in names))
    return sorted((size for size in sizes if size.entries), key=lambda size: (-size.entries, size.name))


async def _size(link: RedisConnection, name: str) -> InboxSize:
    entries, first = await asyncio.gather(
        link.command("XLEN", keys.INBOX + name), link.command("XRANGE", keys.INBOX + name, "-", "+", "COUNT", 1)
    )
    with link.notes.reading(keys.INBOX + name):
        return InboxSize(name, entries, read_moment(first[0][0].partition(b"-")[0]) if first else 0.0)


async def acknowledge(link: RedisConnection, name: str, entry: InboxEntry) -> bool:
    """Acknowledge an entry: no reader gets it again. False: it was acknowledged before."""
    arguments = {"inbox": name, "group": GROUP, "entry": entry.entry_id, "id": entry.job_id}
    reply = await link.script("inbox_ack", arguments)
    return bool(reply[0])


def read_entry_result(link: RedisConnection, name: str, entry: InboxEntry) -> Result:
    """The result in an entry of an inbox. Raises `UnreadableEnvelope`, which is noted."""
    try:
        return entry.result
    except UnreadableEnvelope:
        link.notes.add(keys.INBOX + name, "has a result that cannot be read")
        raise


def read_reply_to(link: RedisConnection, name: str, entry: InboxEntry) -> Any:
    """What the producer of a job wrote for itself, in an entry; None: nothing, or it cannot be read."""
    with link.notes.reading(keys.INBOX + name):
        return read_json(entry.reply_to or None)


async def peek(link: RedisConnection, name: str, after: str = "") -> AsyncIterator[InboxEntry]:
    """The entries that are not acknowledged, oldest first, after `after`. Takes none from a reader."""
    while True:
        start = f"({after}" if after else "-"
        rows = await link.command("XRANGE", keys.INBOX + name, start, "+", "COUNT", BATCH_SIZE)
        for row in rows:
            yield _entry(link, name, row)
        if len(rows) < BATCH_SIZE:
            return
        after = rows[-1][0].decode()


_ENTRY_ID = re.compile(r"\d{1,20}-\d{1,20}")


def is_entry_id(text: str) -> bool:
    return _ENTRY_ID.fullmatch(text) is not None


async def get_entry(link: RedisConnection, name: str, entry_id: str) -> InboxEntry | None:
    """None: it was acknowledged, or has expired."""
    rows = await link.command("XRANGE", keys.INBOX + name, entry_id, entry_id)
    return _entry(link, name, rows[0]) if rows else None


async def await_entry(link: RedisConnection, name: str, after: str, seconds: float) -> None:
    """Return when there is an entry behind `after`, and after `BLOCK_SECONDS` at most. The connection waits for it."""
    block = max(1, int(min(seconds, BLOCK_SECONDS) * 1000))
    await link.command("XREAD", "COUNT", 1, "BLOCK", block, "STREAMS", keys.INBOX + name, after or "0-0")


async def read_first(link: RedisConnection, name: str, limit: int) -> list[InboxEntry]:
    """The first entries of an inbox that has one reader, which takes none from another."""
    return [
        _entry(link, name, row) for row in await link.command("XRANGE", keys.INBOX + name, "-", "+", "COUNT", limit)
    ]


def _entry(link: RedisConnection, name: str, row: list[list[bytes]]) -> InboxEntry:
    with link.notes.reading(keys.INBOX + name):
        return _read_entry(row)


def _read_entry(row: list[list[bytes]]) -> InboxEntry:
    fields = pairs(row[1])
    return InboxEntry(
        entry_id=row[0].decode(),  # type: ignore[attr-defined]
        job_id=read_text(fields.get("id")),
        kind=read_text(fields.get("kind")),
        at=read_moment(fields.get("at")),
        reply_to=fields.get("reply_to", b""),
        packed_result=fields.get("result", b""),
    )
