"""`openfall spend`: calls and their cost, by model, backend and group."""

from __future__ import annotations

from dataclasses import asdict

import click

from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.tables import show
from openfall.producers.cli.terminal import print_line, wants_json
from openfall.producers.client import AsyncOpenfall
from openfall.producers.money_tables import savings_table, spend_table, unexpected_table
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.ledger import LedgerEntry
from openfall.router_core.state.money_report import MoneyReport, read_money
from openfall.router_core.state.savings_rows import SavingsRow, savings_rows

RETENTION_DAYS = 100
"""The ledger keeps these days."""

days_option = click.option(
    "--days",
    type=click.IntRange(1, RETENTION_DAYS),
    default=1,
    show_default=True,
    help="Number of days, including today (UTC).",
)


@click.command()
@days_option
@click.option("--saved", is_flag=True, help="Show what calls saved against live prices.")
@click.option("--unexpected", is_flag=True, help="Show metered calls in place of models that cost nothing.")
@common_options
def spend(days: int, saved: bool, unexpected: bool) -> None:
    """Show calls and their cost, by model, backend and group.

    A call without a known price counts as unknown, never as 0. `as fallback` counts the answers in place of the first
    model of the configured chain. `left home` counts those of them that came from the cloud although a local model
    stands earlier in the chain, or were paid by the token although a free one does. --json prints one entry per day;
    its `nusd` is the known cost in nanodollars, an integer.

    --saved compares with live prices: a call that costs nothing with the first metered model of its chain, a cheaper
    service tier with the live price of its model, tokens from a cache with other input.
    """
    if saved and unexpected:
        raise click.UsageError("--saved and --unexpected are two tables: give one of them")
    if saved:
        _show_saved(*with_client(lambda llm: _fetch_report(llm, days)))
    elif unexpected:
        _show_unexpected(with_client(lambda llm: _fetch_report(llm, days))[0])
    else:
        _show_spend(with_client(lambda llm: _fetch_report(llm, days))[0])


def _show_spend(report: MoneyReport) -> None:
    show(spend_table(report.entries), [_without_buckets(entry) for entry in report.entries])


def _without_buckets(entry: LedgerEntry) -> dict[str, object]:
    return {name: value for name, value in asdict(entry).items() if not name.endswith("_buckets")}


async def _fetch_report(llm: AsyncOpenfall, days: int) -> tuple[MoneyReport, Catalog]:
    catalog = llm.config.catalog
    return await read_money(llm.store.connection, catalog, await llm.store.server_time(), days), catalog


def _show_saved(report: MoneyReport, catalog: Catalog) -> None:
    rows = savings_rows(report.entries, catalog)
    show(savings_table(rows), list(map(_savings_values, rows)))
    if rows and not wants_json():
        print_line("estimated: tokens as the model that answered counted them")


def _savings_values(row: SavingsRow) -> dict[str, object]:
    names = ("calls", "live_nusd", "nusd", "saved_nusd", "cache_saved_nusd")
    sums = {name: getattr(row.total, name) for name in names}
    return {"model": row.total.model, "backend": row.total.backend, "paid_as": row.paid_as, **sums}


def _show_unexpected(report: MoneyReport) -> None:
    show(unexpected_table(report.unexpected), [asdict(row) for day in report.unexpected for row in day.rows])
