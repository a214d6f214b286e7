"""`openfall spend`: calls and their cost, by model, backend and group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from openfall.producers.amounts import format_cost, format_usd
from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.tables import show_rows, show_table
from openfall.producers.cli.terminal import print_line, show_json

if TYPE_CHECKING:
    from openfall.producers.client import AsyncOpenfall
    from openfall.router_core.catalog.catalog import Catalog
    from openfall.router_core.state.ledger import LedgerEntry
    from openfall.router_core.state.money import MoneyReport

COLUMNS = (
    "model",
    "backend",
    "group",
    "calls",
    "failed",
    "as fallback",
    "left home",
    "tokens in",
    "out",
    "mean",
    "spent",
)
NO_CALLS = "no calls"
RETENTION_DAYS = 100
"""The ledger keeps these days."""

days_option = click.option(
    "--days",
    type=click.IntRange(1, RETENTION_DAYS),
    default=1,
    show_default=True,
    help="Number of days, including today (UTC).",
)


SAVED_COLUMNS = ("paid as", "model", "backend", "calls", "at live prices", "spent", "saved", "by caches")
UNEXPECTED_COLUMNS = ("instead of", "answered", "group", "cause", "calls", "spent")


@click.command()
@days_option
@click.option("--saved", is_flag=True, help="Show what calls saved against live prices.")
@click.option("--unexpected", is_flag=True, help="Show metered calls in place of models that cost nothing.")
@common_options
def spend(days: int, saved: bool, unexpected: bool, config_path: Path | None, as_json: bool) -> None:
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
    if saved or unexpected:
        report = with_client(config_path, lambda llm: _fetch_report(llm, days))
        if saved:
            _show_saved(report, as_json)
        else:
            _show_unexpected(report, as_json)
        return
    entries = with_client(config_path, lambda llm: fetch_entries(llm, days))
    show_rows(COLUMNS, _rows(entries), [_without_buckets(entry) for entry in entries], as_json, if_empty=NO_CALLS)


def _without_buckets(entry: LedgerEntry) -> dict[str, object]:
    return {name: value for name, value in asdict(entry).items() if not name.endswith("_buckets")}


async def fetch_entries(llm: AsyncOpenfall, days: int) -> list[LedgerEntry]:
    """The entries of the last days."""
    from openfall.router_core.state.ledger import read_ledger
    from openfall.router_core.state.model_status import last_days

    now = await llm.store.server_time()
    return await read_ledger(llm.store.connection, last_days(now, days))


async def _fetch_report(llm: AsyncOpenfall, days: int) -> tuple[MoneyReport, Catalog]:
    from openfall.router_core.state.money import read_money

    catalog = llm.config.catalog
    return await read_money(llm.store.connection, catalog, await llm.store.server_time(), days), catalog


def _show_saved(report: tuple[MoneyReport, Catalog], as_json: bool) -> None:
    from openfall.router_core.state.savings_rows import savings_rows

    money, catalog = report
    rows = savings_rows(money.entries, catalog)
    if as_json:
        show_json([asdict(row) for row in rows])
        return
    if not rows:
        print_line(NO_CALLS)
        return
    table = [
        (row.paid_as, row.model, row.backend, row.calls, *map(_usd, (row.live_nusd, row.nusd)), *map(
            _usd, (row.saved_nusd, row.cache_saved_nusd)))
        for row in rows
    ]  # fmt: skip
    total = (
        sum(row.calls for row in rows),
        *(_usd(sum(getattr(row, name) for row in rows)) for name in ("live_nusd", "nusd", "saved_nusd")),
        _usd(sum(row.cache_saved_nusd for row in rows)),
    )
    show_table(SAVED_COLUMNS, [*table, ("all", "", "", *total)])
    print_line("estimated: tokens as the model that answered counted them")


def _show_unexpected(report: tuple[MoneyReport, Catalog], as_json: bool) -> None:
    rows = [row for day in report[0].unexpected for row in day.rows]
    cells = [(row.instead_of, row.model, row.group or "-", row.cause, row.calls, _usd(row.nusd)) for row in rows]
    if_empty = "no metered call in place of a model that costs nothing"
    show_rows(UNEXPECTED_COLUMNS, cells, [asdict(row) for row in rows], as_json, if_empty=if_empty)


def _usd(nusd: int) -> str:
    return f"-{format_usd(-nusd / 1e9)}" if nusd < 0 else format_usd(nusd / 1e9)


def _rows(entries: Sequence[LedgerEntry]) -> Iterator[tuple[object, ...]]:
    """A row for each model, backend and group, and a total."""
    from openfall.router_core.state.ledger import ledger_total

    def key(entry: LedgerEntry) -> tuple[str, str, str]:
        return entry.model, entry.backend, entry.group or "-"

    for names, same in groupby(sorted(entries, key=key), key=key):
        entry = ledger_total(list(same))
        yield (
            *names,
            *_sums(entry),
            f"{entry.seconds / entry.calls:.1f}s" if entry.calls else "-",
            format_cost(entry.usd, entry.unpriced),
        )
    total = ledger_total(entries)
    yield "all", "", "", *_sums(total), "", format_cost(total.usd, total.unpriced)


def _sums(entry: LedgerEntry) -> tuple[int, ...]:
    return entry.calls, entry.failed, entry.as_fallback, entry.left_home, entry.input_tokens, entry.output_tokens
