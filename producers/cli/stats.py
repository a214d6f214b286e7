"""`openfall stats`: requests, answers, fallbacks, times and tokens by model, role, group or urgency."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.tables import show
from openfall.producers.client import AsyncOpenfall
from openfall.producers.statistics_table import StatisticsRow, fetch_table, statistics_table
from openfall.router_core.state.ledger import ledger_day
from openfall.router_core.state.statistics import StatisticsKey

KEYS = ("model", "role", "group", "urgency")
NARROW_COLUMNS = 6
"""Columns of a terminal that is too narrow for all."""


@click.command()
@click.option("--by", type=click.Choice(KEYS), default="model", show_default=True, help="Group rows by this.")
@click.option("--day", help="A day such as 2026-11-21 (UTC). Default: today.")
@click.option("--month", help="A month such as 2026-11 (UTC).")
@common_options
def stats(by: str, day: str | None, month: str | None) -> None:
    """Show the jobs that ended in a day or a month, by model, role, group or urgency.

    `fell back` counts the answered jobs whose answer came from another model than their first choice; `failed` those
    without any reply. Times are from acceptance to the reply. `openfall usage` counts calls in place of jobs.
    """
    if day and month:
        raise click.UsageError("name a day or a month, not both")
    period, rows = with_client(lambda llm: _fetch(llm, by, day, month))
    shown = statistics_table(rows, StatisticsKey(by), period)
    show(shown, [_json(row) for row in rows], narrow=NARROW_COLUMNS)


async def _fetch(llm: AsyncOpenfall, by: str, day: str | None, month: str | None) -> tuple[str, list[StatisticsRow]]:
    period = day or month or ledger_day(await llm.store.server_time())
    try:
        return period, await fetch_table(llm.store.connection, StatisticsKey(by), period)
    except ValueError as error:
        raise click.UsageError(f"`{'--day' if day else '--month'}`: {error}") from None


def _json(row: StatisticsRow) -> dict[str, Any]:
    jobs = row.jobs
    names = ("requests", "answered", "fell_back", "failed", "mean_seconds", "p95_bound_seconds")
    return {"name": row.name, **{name: getattr(jobs, name) for name in names}, **asdict(jobs), "nusd": row.nusd,
            "unpriced": row.unpriced}  # fmt: skip
