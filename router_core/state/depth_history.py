"""The history of the queues: how many jobs waited, and how long the oldest had, for each pool and urgency.

A worker that sweeps writes one row a minute for the whole fleet. Reader and writer use the clock of the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_moment, read_number, read_objects
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import Urgency

SAMPLE_INTERVAL_SECONDS = 15.0
"""How often a worker tries: the first of a minute writes."""
MINUTES_KEPT = 60
"""The last hour has a row for each minute."""
TEN_MINUTES_KEPT = 144
"""The last day has a row for each ten minutes, with the highest values of these."""
_KEEP_SECONDS = 90_000
"""A day and an hour: the rows of a fleet that has stopped are deleted."""


@dataclass(frozen=True, slots=True)
class Depth:
    """`waiting` jobs, and the age of the oldest; 0: none waits."""

    waiting: int = 0
    oldest_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class DepthSample:
    """The queues at a moment (epoch seconds), by pool and urgency. `held` jobs are parked in `degrade`."""

    at: float
    held: int
    depths: Mapping[tuple[str, str], Depth]

    def depth(self, pool: str, urgency: Urgency) -> Depth:
        """The queues of a pool and an urgency. Those without a waiting job are not written down."""
        return self.depths.get((pool, urgency.value), Depth())


@dataclass(frozen=True, slots=True)
class DepthHistory:
    """The oldest sample first. `hour` has one a minute. `day` has one every ten minutes, with the highest values of
    these. A minute in which no worker was alive has none."""

    hour: tuple[DepthSample, ...]
    day: tuple[DepthSample, ...]


async def sample_depths(link: RedisConnection, catalog: Catalog) -> bool:
    """Write the row of this minute. False: it is there already."""
    queues: dict[tuple[str, Urgency], list[str]] = {}
    for alias in catalog.models:
        for urgency in Urgency:
            queues.setdefault((catalog.pool_of(alias), urgency), []).append(catalog.queue(alias, urgency))
    cells = [(pool, urgency, names) for (pool, urgency), names in queues.items()]
    rows = {"minutes": MINUTES_KEPT, "ten_minutes": TEN_MINUTES_KEPT, "keep_s": _KEEP_SECONDS}
    return bool(await link.script("sample_depths", {"cells": cells, **rows}))


async def fetch_depth_history(link: RedisConnection) -> DepthHistory:
    """The samples of the last hour and of the last day, in one round trip."""
    hour, day = await asyncio.gather(
        *(link.command("LRANGE", keys.DEPTHS + span, 0, -1) for span in ("hour", "day")),
    )
    return DepthHistory(_samples(link, "hour", hour), _samples(link, "day", day))


def _samples(link: RedisConnection, span: str, rows: list[bytes]) -> tuple[DepthSample, ...]:
    with link.notes.reading(keys.DEPTHS + span):
        return tuple(read_objects(reversed(rows), _sample))


def _sample(row: dict[str, Any]) -> DepthSample:
    depths = {}
    for name, (waiting, oldest_ms) in dict(row["cells"] or {}).items():
        pool, _, urgency = name.rpartition(" ")
        depths[pool, urgency] = Depth(max(0, read_number(waiting)), max(0, read_number(oldest_ms)) / 1000)
    return DepthSample(read_moment(row["at"].encode()), max(0, read_number(row["held"])), depths)
