"""Incidents: falls for one reason that belong together, from the first to when everything is as it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from openfall.router_core.state import keys
from openfall.router_core.state.redis_connection import RedisConnection, pairs
from openfall.router_core.vocabulary import (
    RELEASED_BY_ITSELF,
    HoldReason,
)

QUIET_SECONDS = 10.0
"""Seconds since the last fall before an incident is over."""

BATCH_SIZE = 256

RETENTION_SECONDS = 7 * 86400
"""Seconds for which an incident that is over can be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Moments in epoch seconds on the server's clock; `ended` None: it goes on.

    `falls` counts every fall; `held` is how many are held for it now, `replayed` and `expired` how many were. Of the
    falls: how many of each urgency, model of their chains, error class, and remedy (`nothing`: no text for the caller).
    `told` are the messages at notifiers: notifier -> its id there, '' where it has none.
    """

    id: str
    reason: str
    began_at: float
    last_fall_at: float
    ended_at: float | None = None
    falls: int = 0
    held: int = 0
    replayed: int = 0
    expired: int = 0
    version: int = 0
    urgencies: Mapping[str, int] = field(default_factory=dict)
    models: Mapping[str, int] = field(default_factory=dict)
    causes: Mapping[str, int] = field(default_factory=dict)
    remedies: Mapping[str, int] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)


async def open_incidents(link: RedisConnection) -> tuple[Incident, ...]:
    """Those that go on, the oldest first."""
    ids = [one.decode() for one in pairs(await link.command("HGETALL", keys.INCIDENTS)).values()]
    found = await asyncio.gather(*(fetch_incident(link, one) for one in ids))
    return tuple(sorted(filter(None, found), key=lambda one: one.began_at))


async def fetch_incident(link: RedisConnection, incident_id: str) -> Incident | None:
    """One incident, open or over; None when there is none, or it is over for longer than such are kept."""
    told = pairs(await link.command("HGETALL", keys.INCIDENT + incident_id))
    return read_incident(incident_id, told) if "began" in told else None


async def close_incident(
    link: RedisConnection, reason: str, models: Sequence[str], named: Iterable[str] = ()
) -> str | None:
    """Close the incident of that reason if it is over; its id, or None: it goes on, or there is none.

    It is over when nothing is held for it that one of the catalog's `models` will release (or nothing at all, where
    only people release), nothing waits or is looked at in `degrade`, nothing that one of the models, or of those that
    it has `named`, has released is on its way, and the last fall was `QUIET` seconds ago. Whether its models take calls
    is for the caller to know. The end of an outage is told to whoever was told, or is still to be told, that it began.
    """
    arguments = {
        "reason": reason,
        "quiet_ms": int(QUIET_SECONDS * 1000),
        "retention_s": RETENTION_SECONDS,
        "notify_end": reason == HoldReason.OUTAGE,
        "releases_itself": reason in RELEASED_BY_ITSELF,
        "models": list(models),
        "other_models": [model for model in named if model not in models],
    }
    closed = await link.script("incident_close", arguments)
    return closed.decode() or None


def read_incident(incident_id: str, told: Mapping[str, bytes]) -> Incident:
    """An incident from its hash."""
    moments = {name: int(told.get(name) or 0) / 1000 for name in ("began", "last", "ended")}
    counts = {name: int(told.get(name) or 0) for name in ("falls", "held", "replayed", "expired", "version")}
    return Incident(
        id=incident_id,
        reason=told.get("reason", b"").decode() or incident_id.rpartition("-")[0],
        began_at=moments["began"],
        last_fall_at=moments["last"] or moments["began"],
        ended_at=moments["ended"] or None,
        urgencies=_counted(told, "u:"),
        models=_counted(told, "m:"),
        causes=_counted(told, "c:"),
        remedies=_counted(told, "s:"),
        messages={name: told.get("message:" + name, b"").decode() for name in _below(told, "notified:")},
        **counts,
    )


def _below(told: Mapping[str, bytes], prefix: str) -> dict[str, bytes]:
    return {name[len(prefix) :]: value for name, value in told.items() if name.startswith(prefix)}


def _counted(told: Mapping[str, bytes], prefix: str) -> dict[str, int]:
    """The counts below a prefix, the highest first."""
    found = {name: int(count) for name, count in _below(told, prefix).items()}
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


async def read_falls(link: RedisConnection, since: float | None = None) -> AsyncIterator[dict[str, Any]]:
    """The records of falls (see `router_core.falls`), oldest first, from `since` (epoch seconds) on."""
    start = "-" if since is None else str(max(0, int(since * 1000)))
    while True:
        rows = await link.command("XRANGE", keys.FALLS, start, "+", "COUNT", BATCH_SIZE)
        for row in rows:
            yield from_json(pairs(row[1])["fall"])
        if len(rows) < BATCH_SIZE:
            return
        start = f"({rows[-1][0].decode()}"
