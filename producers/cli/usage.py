"""`openfall usage`: calls, tokens and their cost, by model, backend, group, day or month."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.render import format_cost, format_usd
from openfall.producers.cli.spend import NO_CALLS, days_option, fetch_entries
from openfall.producers.cli.tables import show_rows

if TYPE_CHECKING:
    from openfall.router_core.state.ledger_sums import UsageRow

KEYS = ("model", "backend", "group", "day", "month")
COLUMNS = (
    "calls", "answered", "failed", "fell back", "left home", "mean", "tokens in", "cached", "out", "reasoning", "spent",
    "unconfirmed", "saved",
)  # fmt: skip


@click.command()
@click.option("--by", type=click.Choice(KEYS), default="model", show_default=True, help="Group rows by this.")
@days_option
@common_options
def usage(by: str, days: int, config_path: Path | None, as_json: bool) -> None:
    """Show calls, tokens and their cost, by model, backend, group, day or month.

    Every attempt counts as a call, and so do health prompts of openfall itself (`probes` in --json). `fell back` and
    `left home` are as in `openfall spend`. `unconfirmed` may or may not have been billed. `saved` is what they
    cost less than at live prices. --json has integers of nanodollars (`nusd`), and counts the calls of unknown cost as
    `unpriced`.
    """
    from openfall.router_core.state.ledger_sums import UsageKey, usage_rows

    entries = with_client(config_path, lambda llm: fetch_entries(llm, days))
    rows = usage_rows(entries, UsageKey(by))
    show_rows((by, *COLUMNS), _table(rows), [asdict(row) for row in rows], as_json, if_empty=NO_CALLS)


def _table(rows: Sequence[UsageRow]) -> Iterator[tuple[object, ...]]:
    for row in rows:
        counts = (row.calls, row.answered, row.failed, row.as_fallback, row.left_home)
        mean = "-" if row.mean_seconds is None else f"{row.mean_seconds:.1f}s"
        tokens = (row.input_tokens, row.cached_tokens, row.output_tokens, row.reasoning_tokens)
        saved = row.saved_nusd + row.cache_saved_nusd
        money = format_usd(row.unconfirmed_nusd / 1e9), format_usd(saved / 1e9)
        yield row.name or "-", *counts, mean, *tokens, format_cost(row.nusd / 1e9, row.unpriced), *money
