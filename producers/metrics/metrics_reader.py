"""Reads what the metrics show from Redis, in few round trips."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state import keys
from openfall.router_core.state.breakers import BreakerStatus, list_breakers
from openfall.router_core.state.budget_book import BudgetState, list_budgets
from openfall.router_core.state.card_status import CardStatus, fetch_card_status
from openfall.router_core.state.client_keys import fetch_keys
from openfall.router_core.state.decoding import read_number, read_text
from openfall.router_core.state.errors import StoreRefused
from openfall.router_core.state.fleet_status import FleetStatus, fetch_status
from openfall.router_core.state.incidents import Incident, open_incidents
from openfall.router_core.state.ledger import LedgerEntry, read_ledger
from openfall.router_core.state.metric_counts import MetricCounts, fetch_metric_counts
from openfall.router_core.state.operator_switches import local_only
from openfall.router_core.state.outbox import count_dead_letters
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.refused_requests import RefusedRequests, fetch_refused
from openfall.router_core.state.statistics import JobStatistics, fetch_job_totals

ENDED = {"finished": keys.RQ_FINISHED, "failed": keys.RQ_FAILED, "canceled": keys.RQ_CANCELED}
"""The registries of rq with jobs that have ended, by the word for them in rq's own metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsReading:
    """The fleet at one moment, and what it has counted. `today`: the ledger of this day (UTC). `ended`: jobs in rq's
    registries, by queue and registry. `server`: what Redis says of its memory; empty: it may not be asked.
    `refused`: requests of this day (UTC). `key_names`: those of the gateway's keys."""

    status: FleetStatus
    jobs: tuple[JobStatistics, ...]
    counts: MetricCounts
    today: tuple[LedgerEntry, ...] = ()
    breakers: tuple[BreakerStatus, ...] = ()
    incidents: tuple[Incident, ...] = ()
    budgets: tuple[BudgetState, ...] = ()
    cards: tuple[CardStatus, ...] = ()
    ended: Mapping[tuple[str, str], int]
    outbox: int = 0
    dead_letters: int = 0
    local_only: bool = False
    refused: tuple[RefusedRequests, ...] = ()
    key_names: frozenset[str] = frozenset()
    server: Mapping[str, float]


async def read_metrics(link: RedisConnection, catalog: Catalog) -> MetricsReading:
    """Read everything. Raises `StoreError`."""
    (status, breakers, jobs, counts), (incidents, server, switch) = await asyncio.gather(
        asyncio.gather(fetch_status(link), list_breakers(link), fetch_job_totals(link), fetch_metric_counts(link)),
        asyncio.gather(open_incidents(link), _read_server(link), local_only(link)),
    )
    queues = [queue.name for queue in status.queues] + [keys.DEGRADE]
    day = f"{datetime.fromtimestamp(status.now, UTC):%Y-%m-%d}"
    (ended, today, budgets), (cards, outbox, dead_letters), (refused, ring) = await asyncio.gather(
        asyncio.gather(
            _read_ended(link, queues),
            read_ledger(link, [day]),
            list_budgets(link, catalog.budgets, status.now, forecasts=False),
        ),
        asyncio.gather(fetch_card_status(link, catalog), link.command("ZCARD", keys.OUTBOX), count_dead_letters(link)),
        asyncio.gather(fetch_refused(link, status.now), fetch_keys(link)),
    )
    return MetricsReading(
        status=status,
        jobs=tuple(jobs),
        counts=counts,
        today=tuple(today),
        breakers=tuple(breakers),
        incidents=incidents,
        budgets=tuple(budgets),
        cards=tuple(cards),
        ended=ended,
        outbox=int(outbox),
        dead_letters=dead_letters,
        local_only=bool(switch) or catalog.local_only,
        refused=tuple(refused),
        key_names=frozenset(key.name for key in ring.by_digest.values()),
        server=server,
    )


async def _read_ended(link: RedisConnection, queues: list[str]) -> dict[tuple[str, str], int]:
    places = [(queue, status) for queue in queues for status in ENDED]
    prefixes = [ENDED[status] + queue for queue, status in places]
    sizes = await link.script("registry_sizes", {"registries": prefixes})
    return dict(zip(places, map(int, sizes), strict=True))


async def _read_server(link: RedisConnection) -> dict[str, float]:
    """The memory of Redis. A user without the right to INFO reads nothing."""
    try:
        info = read_text(await link.command("INFO", "memory"))
    except StoreRefused:
        return {}
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    return {name: float(read_number(fields.get(name, "").encode())) for name in ("used_memory", "maxmemory")}
