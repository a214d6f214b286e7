"""`openfall usage`: calls, tokens and their cost, by model, backend, group or day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.render import format_cost, show_table
from openfall.producers.cli.spend import days_option, fetch_entries
from openfall.producers.cli.terminal import print_line, show_json

if TYPE_CHECKING:
    from openfall.router_core.state.ledger_sums import UsageRow

KEYS = ("model", "backend", "group", "day")
COLUMNS = ("calls", "answered", "failed", "probes", "tokens in", "out", "spent")


@click.command()
@click.option("--by", type=click.Choice(KEYS), default="model", show_default=True, help="What a row is for.")
@days_option
@common_options
def usage(by: str, days: int, config_path: Path | None, as_json: bool) -> None:
    """Show calls, tokens and their cost, by model, backend, group or day.

    Every attempt counts as a call. `probes` counts those that were health prompts of openfall itself. --json has the
    cost as `nusd`, an integer of nanodollars, and counts the calls of unknown cost as `unpriced`.
    """
    from openfall.router_core.state.ledger_sums import UsageKey, usage_rows

    entries = with_client(config_path, lambda llm: fetch_entries(llm, days))
    rows = usage_rows(entries, UsageKey(by))
    if as_json:
        show_json([asdict(row) for row in rows])
    elif not rows:
        print_line("no calls")
    else:
        show_table((by, *COLUMNS), _table(rows))


def _table(rows: Sequence[UsageRow]) -> Iterator[tuple[object, ...]]:
    for row in rows:
        counts = (row.calls, row.answered, row.failed, row.probes, row.input_tokens, row.output_tokens)
        yield row.name or "-", *counts, format_cost(row.nusd / 1e9, row.unpriced)
