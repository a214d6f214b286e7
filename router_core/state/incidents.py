"""Incidents: falls for one reason, from the first until all is well again; and the log of falls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from openfall.router_core.degrading.incident_end import end_conditions
from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_moment, read_number, read_object, read_text
from openfall.router_core.state.redis_connection import RedisConnection, pairs

BATCH_SIZE = 256
_UNKNOWN_FALL = {"at": 0.0, "reason": "unreadable", "detail": ""}
"""What stands in the record of a fall where it cannot be read."""
RETENTION_SECONDS = 7 * 86400
"""Seconds for which a closed incident is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """An incident. Times are epoch seconds on the server's clock; `ended_at` None: it is open.

    `falls` counts every fall. `held` jobs are held for it now; `replayed` and `expired` ones were. `urgencies`,
    `models` (of the chains), `chains` (their models in a comma list), `causes` (error classes) and `remedies`
    (`nothing`: no text for the caller) count the falls. `messages` maps each notifier to the id of its message, ''
    where it has none."""

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
    nusd: int = 0
    """What the calls of an incident of unexpected spend have cost, in nanodollars."""
    urgencies: Mapping[str, int] = field(default_factory=dict)
    models: Mapping[str, int] = field(default_factory=dict)
    causes: Mapping[str, int] = field(default_factory=dict)
    remedies: Mapping[str, int] = field(default_factory=dict)
    chains: Mapping[str, int] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)


async def open_incidents(link: RedisConnection) -> tuple[Incident, ...]:
    """The open incidents, the oldest first."""
    rows = pairs(await link.command("HGETALL", keys.INCIDENTS))
    with link.notes.reading(keys.INCIDENTS):
        ids = {reason: read_text(id_) for reason, id_ in rows.items()}
    incidents = await asyncio.gather(*(fetch_incident(link, id_) for id_ in ids.values()))
    if lost := [reason for reason, incident in zip(ids, incidents, strict=True) if incident is None]:
        link.notes.add(keys.INCIDENTS, "names no incident")
        await link.command("HDEL", keys.INCIDENTS, *lost)
    return tuple(sorted(filter(None, incidents), key=lambda incident: incident.began_at))


async def fetch_incident(link: RedisConnection, incident_id: str) -> Incident | None:
    """One incident, open or closed. None: there is none, or it is no longer kept."""
    fields = pairs(await link.command("HGETALL", keys.INCIDENT + incident_id))
    with link.notes.reading(keys.INCIDENT + incident_id):
        return read_incident(incident_id, fields) if read_moment(fields.get("began")) else None


async def observe_incident(
    link: RedisConnection,
    reason: str,
    counts: Sequence[str],
    notify: Sequence[str],
    values: Mapping[str, int] = MappingProxyType({}),
) -> str:
    """Open an incident that is no fall of a job, or keep it open. Returns its id. `counts` are fields of a new one,
    `values` are fields as they are now."""
    arguments = {"reason": reason, "counts": counts, "notify": notify, "values": dict(values)}
    observed = await link.script("incident_observe", arguments)
    return read_text(observed)


async def close_incident(
    link: RedisConnection, reason: str, models: Sequence[str], former_models: Iterable[str] = ()
) -> str | None:
    """Close the incident of that reason if it is over (see incident_end.py); its id, or None: it goes on, or there is
    none.

    `models` are those of the catalog: only they release jobs. A job that one of them, or of its `former_models`,
    released is on its way. The caller checks whether an outage has an unserved chain.
    """
    conditions = end_conditions(reason)
    arguments = {
        "reason": reason,
        "quiet_ms": int(conditions.quiet_seconds * 1000),
        "retention_s": RETENTION_SECONDS,
        "notify_end": conditions.sends_notice,
        "of_jobs": conditions.of_jobs,
        "ends_with_answer": conditions.ends_with_answer,
        "releases_itself": conditions.releases_itself,
        "models": list(models),
        "other_models": [model for model in former_models if model not in models],
    }
    closed = await link.script("incident_close", arguments)
    return read_text(closed) or None


def read_incident(incident_id: str, fields: Mapping[str, bytes]) -> Incident:
    """An incident from its hash."""
    moments = {name: read_moment(fields.get(name)) for name in ("began", "last", "ended")}
    counts = {
        name: read_number(fields.get(name)) for name in ("falls", "held", "replayed", "expired", "version", "nusd")
    }
    return Incident(
        id=incident_id,
        reason=incident_id.rpartition("-")[0],
        began_at=moments["began"],
        last_fall_at=moments["last"] or moments["began"],
        ended_at=moments["ended"] or None,
        urgencies=_counted(fields, "u:"),
        models=_counted(fields, "m:"),
        causes=_counted(fields, "c:"),
        remedies=_counted(fields, "s:"),
        chains=_counted(fields, "chain:"),
        messages={name: read_text(fields.get("message:" + name)) for name in _below(fields, "notified:")},
        **counts,
    )


def _below(fields: Mapping[str, bytes], prefix: str) -> dict[str, bytes]:
    return {name[len(prefix) :]: value for name, value in fields.items() if name.startswith(prefix)}


def _counted(fields: Mapping[str, bytes], prefix: str) -> dict[str, int]:
    """The counts with a prefix, the highest first."""
    counts = {name: read_number(count) for name, count in _below(fields, prefix).items()}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


async def read_falls(link: RedisConnection, since: float | None = None) -> AsyncIterator[dict[str, Any]]:
    """The records of falls (see fall_record.py), oldest first, from `since` (epoch seconds) on."""
    start = "-" if since is None else str(max(0, int(since * 1000)))
    while True:
        rows = await link.command("XRANGE", keys.FALLS, start, "+", "COUNT", BATCH_SIZE)
        for fall in _falls(link, rows):
            yield fall
        if len(rows) < BATCH_SIZE:
            return
        start = f"({rows[-1][0].decode()}"


async def recent_falls(link: RedisConnection, limit: int) -> dict[str, dict[str, Any]]:
    """The newest record of each job among the last falls, by its id."""
    rows = await link.command("XREVRANGE", keys.FALLS, "+", "-", "COUNT", limit)
    falls: dict[str, dict[str, Any]] = {}
    for fall in _falls(link, rows):
        falls.setdefault(fall["id"], fall)
    return falls


def _falls(link: RedisConnection, rows: Iterable[Any]) -> list[dict[str, Any]]:
    """The records that can be read."""
    with link.notes.reading(keys.FALLS):
        falls = [fall for row in rows if (fall := read_object(pairs(row[1]).get("fall"))) is not None]
    return [{**_UNKNOWN_FALL, **fall} for fall in falls if isinstance(fall.get("id"), str)]
