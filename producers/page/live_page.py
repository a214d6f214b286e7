"""The live part of the page: one reader for one gateway process, and rendered sections that all open pages share.

Redis is asked once a second whether something went wrong or is well again, and only while a page is open. The whole
fleet is read when that is so, or after some seconds; its queues the less often the more of them have jobs. A section is
sent to a page only when it has changed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import orjson

from openfall.config import NoRedis
from openfall.producers.page.page_actions import ACTIONS
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.rendering import render, render_section, without_ages
from openfall.producers.page.section import Section
from openfall.producers.page.snapshot_reader import NO_FLEET, SnapshotReader
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.errors import StoreError

log = logging.getLogger("openfall.gateway")

INTERVAL_SECONDS = 1.0
"""Between two looks at whether something has changed. A page that is opened shows nothing older."""
FLEET_SECONDS = 5.0
"""Between two readings of a fleet in which nothing goes wrong."""
MAX_QUEUE_SECONDS, QUEUES_PER_SECOND = 40.0, 8
"""Between two readings of the queues: those in which jobs wait take two commands each. `FLEET_SECONDS` at least."""
READ_SECONDS = 3.0
"""After this a reading counts as failed: Redis is away."""
KEEPALIVE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Fragment:
    """A rendered section. `version` rises when it changes. `event` is what an open page is sent."""

    name: str
    html: str
    version: int
    event: bytes


class LivePage:
    """The sections as they are now. `stopping`: the gateway stops, and open pages are to connect to another one."""

    def __init__(
        self, reader: SnapshotReader, sections: Sequence[Section], stopping: asyncio.Event, root_path: str = ""
    ) -> None:
        self._reader, self._stopping, self._root_path = reader, stopping, root_path
        self._sections = {section.name: section for section in sections}
        self._snapshot: PageSnapshot | None = None
        self._rendered_at: dict[str, float] = {}
        self._fragments: dict[str, Fragment] = {}
        self._viewers: dict[object, frozenset[str]] = {}
        self._changed = asyncio.Event()
        self._reading = asyncio.Lock()
        self._pulse = b""
        self._read_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def use_config(self, catalog: Catalog, root_path: str) -> None:
        """Read the fleet by a changed catalog from now on. Open pages show it with the next reading."""
        self._reader, self._read_at, self._root_path = self._reader.with_catalog(catalog), 0.0, root_path
        self._rendered_at.clear()

    async def fragments(self, names: Iterable[str]) -> list[Fragment]:
        """The sections, not older than a second."""
        wanted = frozenset(names)
        async with self._reading:
            fresh_from = time.monotonic() - INTERVAL_SECONDS
            if self._snapshot is None or any(self._rendered_at.get(name, 0) < fresh_from for name in wanted):
                await self._renew(wanted, INTERVAL_SECONDS)
        return [self._fragments[name] for name in names]

    async def snapshot(self) -> PageSnapshot:
        """The fleet as the sections show it."""
        await self.fragments(())
        assert self._snapshot is not None
        return self._snapshot

    async def events(
        self, names: Sequence[str], versions: Mapping[str, int], may_go_on: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[bytes]:
        """What an open page is sent: each of its sections whenever it changes. `versions`: those that it shows.

        It ends once its visitor may not go on."""
        shown, viewer = dict(versions), object()
        self._viewers[viewer] = frozenset(names)
        try:
            if self._task is None:
                self._task = asyncio.create_task(self._keep_reading(), name="page-reader")
            yield b"retry: 2000\n\n"
            while not self._stopping.is_set() and await may_go_on():
                changed = self._changed
                for fragment in await self._known(names):
                    if shown.get(fragment.name) != fragment.version:
                        shown[fragment.name] = fragment.version
                        yield fragment.event
                try:
                    async with asyncio.timeout(KEEPALIVE_SECONDS):
                        await changed.wait()
                except TimeoutError:
                    yield b": nothing new\n\n"
        finally:
            del self._viewers[viewer]

    async def _known(self, names: Sequence[str]) -> list[Fragment]:
        """The sections as they were read last."""
        if self._fragments.keys() >= set(names):
            return [self._fragments[name] for name in names]
        return await self.fragments(names)

    async def refresh(self, queues_not_older: float = 0.0) -> None:
        """Read the fleet now, and let open pages know what has changed. Queues that were read within
        `queues_not_older` seconds are shown as they were."""
        async with self._reading:
            before = {name: fragment.version for name, fragment in self._fragments.items()}
            self._rendered_at.clear()
            await self._renew(frozenset().union(*self._viewers.values()), queues_not_older)
        if any(before.get(name) != fragment.version for name, fragment in self._fragments.items()):
            self._announce()

    async def close(self) -> None:
        await cancel_all(self._task)

    async def _keep_reading(self) -> None:
        """Look once a second, until no page is open."""
        while self._viewers:
            started = time.monotonic()
            if await self._must_read(started):
                await self.refresh(self._queue_seconds())
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.1, INTERVAL_SECONDS - (time.monotonic() - started))):
                    await self._stopping.wait()
                    break
        self._task = None
        self._announce()

    async def _must_read(self, now: float) -> bool:
        """Whether something went wrong in the fleet or is well again, or the last reading is too old."""
        try:
            async with asyncio.timeout(INTERVAL_SECONDS):
                pulse = await self._reader.pulse()
        except (StoreError, NoRedis, TimeoutError):
            return True
        changed, self._pulse = pulse != self._pulse, pulse
        snapshot = self._snapshot
        if changed or snapshot is None or snapshot.redis_away_since is not None:
            return True
        return now - self._read_at >= FLEET_SECONDS

    def _queue_seconds(self) -> float:
        """How old the queues may be: about 16 commands a second read them, whatever their number."""
        if self._snapshot is None or self._snapshot.redis_away_since is not None:
            return 0.0
        busy = sum(queue.waiting > 0 for queue in self._snapshot.status.queues)
        return min(MAX_QUEUE_SECONDS, max(FLEET_SECONDS - INTERVAL_SECONDS, busy / QUEUES_PER_SECOND))

    def _announce(self) -> None:
        """Wake every open page."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _renew(self, names: frozenset[str], queues_not_older: float) -> None:
        self._read_at = time.monotonic()
        self._snapshot = await self._read(names, queues_not_older)
        self._rendered_at |= dict.fromkeys(names, time.monotonic())
        for name in names:
            try:
                html = render_section(self._sections[name], self._snapshot, ACTIONS, self._root_path)
            except Exception:
                log.exception("the section %s of the page cannot be shown", name)
                html = render("broken_section.html", name=name)
            before = self._fragments.get(name)
            if before is None or without_ages(before.html) != without_ages(html):
                version = 1 if before is None else before.version + 1
                self._fragments[name] = Fragment(name, html, version, _event(name, html, version, self._snapshot.at))
            else:  # a page that is opened now shows the ages of now
                self._fragments[name] = replace(before, html=html)

    async def _read(self, names: frozenset[str], queues_not_older: float) -> PageSnapshot:
        sources = [source for name in names for source in self._sections[name].sources]
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await self._reader.read(sources, queues_not_older)
        except (StoreError, NoRedis, TimeoutError):
            now, reader = time.time(), self._reader
            last = self._snapshot or PageSnapshot(
                now=now, catalog=reader.catalog, catalog_digest=reader.digest, status=NO_FLEET
            )
            return replace(last, redis_away_since=last.redis_away_since or reader.away_since() or now, shown_at=now)


def _event(name: str, html: str, version: int, now: float) -> bytes:
    fields: dict[str, Any] = {"name": name, "html": html, "version": version, "now": round(now, 1)}
    return b"event: section\ndata: %b\n\n" % orjson.dumps(fields)
