"""`openfall stats`: requests, answers, fallbacks, times and tokens by model, role, group or urgency."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openfall.producers.amounts import format_cost
from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.tables import show_table
from openfall.producers.cli.terminal import print_line, show_json

if TYPE_CHECKING:
    from openfall.producers.client import AsyncOpenfall
    from openfall.producers.statistics_table import StatisticsRow

KEYS = ("model", "role", "group", "urgency")
COLUMNS = ("requests", "answered", "fell back", "failed", "mean", "p95", "tokens in", "out", "cost")
NARROW_COLUMNS = 6
"""Columns of a terminal that is too narrow for all."""


@click.command()
@click.option("--by", type=click.Choice(KEYS), default="model", show_default=True, help="Group rows by this.")
@click.option("--day", help="A day such as 2026-11-21 (UTC). Default: today.")
@click.option("--month", help="A month such as 2026-11 (UTC).")
@common_options
def stats(by: str, day: str | None, month: str | None, config_path: Path | None, as_json: bool) -> None:
    """Show the jobs that ended in a day or a month, by model, role, group or urgency.

    `fell back` counts the answered jobs whose answer came from another model than their first choice; `failed` those
    without any reply. Times are from acceptance to the reply. `openfall usage` counts calls in place of jobs.
    """
    if day and month:
        raise click.UsageError("name a day or a month, not both")
    period, rows = with_client(config_path, lambda llm: _fetch(llm, by, day or month))
    if as_json:
        show_json([_json(row) for row in rows])
    elif not rows:
        print_line(f"no job ended in {period} (UTC)")
    else:
        show_table((by, *COLUMNS), _rows(rows), narrow=NARROW_COLUMNS)


async def _fetch(llm: AsyncOpenfall, by: str, period: str | None) -> tuple[str, list[StatisticsRow]]:
    from openfall.producers.statistics_table import fetch_table
    from openfall.router_core.state.model_status import ledger_day
    from openfall.router_core.state.statistics import StatisticsKey

    period = period or ledger_day(await llm.store.server_time())
    try:
        return period, await fetch_table(llm.store.connection, StatisticsKey(by), period)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _json(row: StatisticsRow) -> dict[str, Any]:
    jobs = row.jobs
    names = ("requests", "answered", "fell_back", "failed", "mean_seconds", "p95_bound_seconds")
    return {"name": row.name, **{name: getattr(jobs, name) for name in names}, **asdict(jobs), "nusd": row.nusd,
            "unpriced": row.unpriced}  # fmt: skip


def _rows(rows: Sequence[StatisticsRow]) -> Iterator[tuple[object, ...]]:
    for row in rows:
        jobs = row.jobs
        counts = (jobs.requests, jobs.answered, jobs.fell_back, jobs.failed)
        mean = "-" if jobs.mean_seconds is None else f"{jobs.mean_seconds:.1f}s"
        p95 = "-" if jobs.p95_bound_seconds is None else f"≤{jobs.p95_bound_seconds:.1f}s"
        cost = "-" if row.nusd is None else format_cost(row.nusd / 1e9, row.unpriced)
        yield row.name or "-", *counts, mean, p95, jobs.input_tokens, jobs.output_tokens, cost
