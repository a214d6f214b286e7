"""Statistics of a day or a month, with what the calls cost: for `openfall stats` and for the page."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable
from dataclasses import dataclass

from openfall.producers.amount_text import format_cost, format_seconds
from openfall.producers.table import MarkedCount, Table
from openfall.router_core.state.ledger import LedgerEntry, ledger_total, read_ledger
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.statistics import JobStatistics, StatisticsKey, fetch_statistics, sum_statistics

COLUMNS = ("requests", "answered", "fell back", "failed", "mean", "p95", "tokens in", "out", "cost")
_IN_LEDGER = frozenset({StatisticsKey.MODEL, StatisticsKey.GROUP})
"""The ledger of calls knows models and groups, and no roles."""


@dataclass(frozen=True, slots=True)
class StatisticsRow:
    """The jobs of one model, role, group or urgency. `nusd`: what the calls of it cost, in nanodollars; `unpriced` of
    them have no known cost. None: the ledger does not count by this."""

    name: str | None
    jobs: JobStatistics
    nusd: int | None = None
    unpriced: int = 0


async def fetch_table(link: RedisConnection, by: StatisticsKey, period: str) -> list[StatisticsRow]:
    """A row for each value of a label, the most requests first. `period`: a day (`2026-11-21`) or a month (`2026-11`),
    in UTC. Raises `ValueError` for another text."""
    jobs = sum_statistics(await fetch_statistics(link, period), by)
    if by not in _IN_LEDGER:
        return [StatisticsRow(getattr(row, by), row) for row in jobs]
    entries = await read_ledger(link, _days(period))
    rows = []
    for row in jobs:
        name = getattr(row, by)
        calls = [entry for entry in entries if getattr(entry, by) == name]
        total: LedgerEntry | None = ledger_total(calls) if calls else None
        rows.append(StatisticsRow(name, row, total.nusd if total else 0, total.unpriced if total else 0))
    return rows


def statistics_table(rows: Iterable[StatisticsRow], by: StatisticsKey, period: str) -> Table:
    """The rows as they are shown."""
    return Table(columns=(by.value, *COLUMNS), rows=list(map(_cells, rows)), if_empty=f"no job ended in {period} (UTC)")


def _cells(row: StatisticsRow) -> tuple[object, ...]:
    jobs = row.jobs
    counts = (jobs.requests, jobs.answered, MarkedCount(jobs.fell_back, "warn"), MarkedCount(jobs.failed, "bad"))
    mean = "-" if jobs.mean_seconds is None else format_seconds(jobs.mean_seconds)
    p95 = "-" if jobs.p95_bound_seconds is None else f"≤{format_seconds(jobs.p95_bound_seconds)}"
    cost = "-" if row.nusd is None else format_cost(row.nusd / 1e9, row.unpriced)
    return row.name or "-", *counts, mean, p95, jobs.input_tokens, jobs.output_tokens, cost


def _days(period: str) -> list[str]:
    if len(period) != len("2026-11"):
        return [period]
    year, month = map(int, period.split("-"))
    return [f"{period}-{day:02}" for day in range(1, monthrange(year, month)[1] + 1)]
