"""`openfall spend`: calls and their cost, by model, backend and group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.render import format_cost, show_table
from openfall.producers.cli.terminal import print_line, show_json

if TYPE_CHECKING:
    from openfall.producers.client import AsyncOpenfall
    from openfall.router_core.state.ledger import LedgerEntry

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
@common_options
def spend(days: int, config_path: Path | None, as_json: bool) -> None:
    """Show calls and their cost, by model, backend and group.

    A call without a known price counts as unknown, never as 0. `as fallback` counts the answers in place of the first
    model of the configured chain. `left home` counts those of them that came from the cloud although a local model
    stands earlier in the chain, or were paid by the token although a free one does. --json prints one entry per day;
    its `nusd` is the known cost in nanodollars, an integer.
    """
    entries = with_client(config_path, lambda llm: fetch_entries(llm, days))
    if as_json:
        show_json([asdict(entry) for entry in entries])
    elif not entries:
        print_line("no calls")
    else:
        show_table(COLUMNS, _rows(entries))


async def fetch_entries(llm: AsyncOpenfall, days: int) -> list[LedgerEntry]:
    """The entries of the last days."""
    from openfall.router_core.state.ledger import read_ledger
    from openfall.router_core.state.model_status import ledger_day

    now = await llm.store.server_time()
    return await read_ledger(llm.store.connection, [ledger_day(now - 86400 * back) for back in reversed(range(days))])


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
