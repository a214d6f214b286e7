"""`openfall spend`: what was called for whom, how it went, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from openfall.producers.cli.options import (
    config_option,
    json_option,
    opened,
    run,
)
from openfall.producers.cli.render import (
    print_line,
    show_json,
    show_table,
    spent,
)

if TYPE_CHECKING:
    from openfall.router_core.state.ledger import LedgerEntry

COLUMNS = ("model", "backend", "group", "calls", "failed", "fell back", "tokens in", "out", "mean", "spent")
KEPT = 100
"""Days for which the ledger is kept."""


@click.command()
@click.option("--days", type=click.IntRange(1, KEPT), default=1, show_default=True, help="Up to today (UTC).")
@config_option
@json_option
def spend(days: int, config_path: Path | None, as_json: bool) -> None:
    """What was called for whom, and what it cost, by model, backend and group.

    A call of which nobody knows the price is counted as unknown, never as 0. With --json: one entry for each day.
    """
    entries = run(_entries(config_path, days))
    if as_json:
        show_json([asdict(entry) for entry in entries])
    elif not entries:
        print_line("nothing was called")
    else:
        show_table(COLUMNS, _shown(entries))


async def _entries(config_path: Path | None, days: int) -> list[LedgerEntry]:
    from openfall.router_core.state.ledger import read_ledger
    from openfall.router_core.state.model_status import ledger_day

    async with opened(config_path) as llm:
        now = await llm.store.server_time()
        return await read_ledger(
            llm.store.connection, [ledger_day(now - 86400 * back) for back in reversed(range(days))]
        )


def _shown(entries: Sequence[LedgerEntry]) -> Iterator[tuple[object, ...]]:
    """A row for each model, backend and group, and one for all of them."""
    from openfall.router_core.state.ledger import ledger_total

    def place(one: LedgerEntry) -> tuple[str, str, str]:
        return one.model, one.backend, one.group or "-"

    for where, these in groupby(sorted(entries, key=place), key=place):
        one = ledger_total(list(these))
        yield *where, *_sums(one), f"{one.seconds / one.calls:.1f}s" if one.calls else "-", spent(one.usd, one.unpriced)
    every = ledger_total(entries)
    yield "all", "", "", *_sums(every), "", spent(every.usd, every.unpriced)


def _sums(one: LedgerEntry) -> tuple[int, ...]:
    return one.calls, one.failed, one.fallbacks, one.input_tokens, one.output_tokens
