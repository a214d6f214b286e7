"""What the sections of the page show: the fleet at one moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from openfall.producers.outage_text import Away
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.audit_log import AuditEntry
from openfall.router_core.state.breakers import BreakerStatus
from openfall.router_core.state.fleet_status import FleetStatus
from openfall.router_core.state.held_jobs import HeldJob, HeldSummary
from openfall.router_core.state.incidents import Incident
from openfall.router_core.state.redis_connection import RedisConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSnapshot:
    """The fleet at `now`, on the server's clock.

    `redis_away_since`: Redis does not answer, and everything else is as it was at `now`; None: it answers. `shown_at`:
    the moment at which that is shown.
    `redis_url`: where Redis is, without a password, as the machine `host` names it.
    `held_jobs`: the first of the held ones. `fallen`: the record of the last fall of each of them (see
    fall_record.py). `sources`: what the sections read beside this, by the name of the source.
    """

    now: float
    catalog: Catalog
    catalog_digest: str
    status: FleetStatus
    redis_url: str = ""
    host: str = ""
    breakers: tuple[BreakerStatus, ...] = ()
    away: tuple[Away, ...] = ()
    held: HeldSummary = field(default_factory=HeldSummary)
    held_jobs: tuple[HeldJob, ...] = ()
    fallen: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()
    local_only: str | None = None
    dead_letters: int = 0
    audit: tuple[AuditEntry, ...] = ()
    redis_away_since: float | None = None
    shown_at: float = 0.0
    sources: Mapping[str, Any] = field(default_factory=dict)

    @property
    def at(self) -> float:
        """The present moment: that of the reading, and later while Redis is away."""
        return max(self.now, self.shown_at)


@dataclass(frozen=True, slots=True)
class Source:
    """Something that a section reads from Redis, at most every `every_seconds`."""

    name: str
    read: Callable[[RedisConnection, Catalog], Awaitable[Any]]
    every_seconds: float = 1.0
