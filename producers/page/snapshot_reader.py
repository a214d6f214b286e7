"""Reads the snapshot of the page from Redis."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from openfall.producers.operator_note import READ_ENTRIES
from openfall.producers.outage_text import list_all_away
from openfall.producers.page.page_snapshot import PageSnapshot, Source
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_digest import catalog_digest
from openfall.router_core.state.audit_log import read_entries
from openfall.router_core.state.backend_reports import remembered_health
from openfall.router_core.state.breakers import list_breakers
from openfall.router_core.state.fleet_status import FleetStatus, fetch_pulse, fetch_status
from openfall.router_core.state.held_jobs import HeldJob, fetch_held, held_longest, summarize_held
from openfall.router_core.state.incidents import open_incidents, recent_falls
from openfall.router_core.state.operator_switches import local_only
from openfall.router_core.state.outbox import count_dead_letters
from openfall.router_core.state.redis_connection import RedisConnection

MAX_HELD = 200
"""Held jobs that are read: those held longest. A part of a long list, as it is read each second."""
HELD_SECONDS = 300.0
"""How long what was read of a held job is shown. Whether it is still held, and since when, is read each time."""
MAX_FALLS = 200
"""Records of falls in which what was tried for them is looked up."""

NO_FLEET = FleetStatus(0.0, (), (), 0, 0, False, None, {})


@dataclass(slots=True)
class SnapshotReader:
    """Reads for one gateway. A source is read again only after its time. `away_since`: when this process noticed first
    that Redis does not answer, whether or not a page was open."""

    link: RedisConnection
    catalog: Catalog
    away_since: Callable[[], float | None] = lambda: None
    digest: str = field(init=False)
    _values: dict[str, tuple[float, Any]] = field(default_factory=dict)
    _status: FleetStatus | None = None
    _held: dict[tuple[str, float], HeldJob] = field(default_factory=dict)
    _queues_read_at: float = float("-inf")
    _held_read_at: float = float("-inf")

    def __post_init__(self) -> None:
        self.digest = catalog_digest(self.catalog)

    def with_catalog(self, catalog: Catalog) -> SnapshotReader:
        """This reader with a changed catalog. Sources are read again by it."""
        return replace(self, catalog=catalog, _values={})

    async def pulse(self) -> bytes:
        """Changes at once when the fleet must be read again. Raises `StoreError`."""
        return await fetch_pulse(self.link)

    async def read(self, sources: Iterable[Source] = (), queues_not_older: float = 0.0) -> PageSnapshot:
        """The fleet now. Queues that were read within `queues_not_older` seconds are not read again. Raises
        `StoreError`."""
        link = self.link
        (
            (status, breakers, checks, switch),
            (held, falls, incidents),
            (dead_letters, audit),
        ) = await asyncio.gather(
            asyncio.gather(
                self._read_status(queues_not_older), list_breakers(link), remembered_health(link), local_only(link)
            ),
            asyncio.gather(self._read_held(), recent_falls(link, MAX_FALLS), open_incidents(link)),
            asyncio.gather(count_dead_letters(link), read_entries(link, READ_ENTRIES)),
        )
        snapshot = PageSnapshot(
            now=status.now,
            catalog=self.catalog,
            catalog_digest=self.digest,
            status=status,
            redis_url=link.safe_url,
            host=socket.gethostname(),
            breakers=tuple(breakers),
            away=tuple(list_all_away(breakers, checks, self.catalog, status.now)),
            held=summarize_held(status.held, held),
            held_jobs=tuple(held),
            fallen=falls,
            incidents=incidents,
            local_only=switch or ("set in the configuration" if self.catalog.local_only else None),
            dead_letters=dead_letters,
            audit=tuple(audit),
        )
        return replace(snapshot, sources=await self._read_sources(sources, status.now))

    async def _read_status(self, queues_not_older: float) -> FleetStatus:
        known = self._status if time.monotonic() - self._queues_read_at < queues_not_older else None
        if known is None:
            self._queues_read_at = time.monotonic()
        self._status = await fetch_status(self.link, known)
        return self._status

    async def _read_held(self) -> list[HeldJob]:
        """The jobs that are held longest. The record of one that stays held is read again only now and then."""
        since = await held_longest(self.link, MAX_HELD)
        if time.monotonic() - self._held_read_at > HELD_SECONDS:
            self._held.clear()
            self._held_read_at = time.monotonic()
        new = [id_ for id_, at in since.items() if (id_, at) not in self._held]
        known = self._held | {(job.id, since[job.id]): job for job in await fetch_held(self.link, new)}
        self._held = {held: known[held] for held in since.items() if held in known}
        return list(self._held.values())

    async def _read_sources(self, sources: Iterable[Source], now: float) -> Mapping[str, Any]:
        wanted = {source.name: source for source in sources}
        due = [
            source
            for name, source in wanted.items()
            if name not in self._values or now - self._values[name][0] >= source.every_seconds
        ]
        values = await asyncio.gather(*(source.read(self.link, self.catalog) for source in due))
        self._values.update({source.name: (now, value) for source, value in zip(due, values, strict=True)})
        return {name: self._values[name][1] for name in wanted}
