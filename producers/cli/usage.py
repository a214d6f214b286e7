"""`openfall usage`: calls, tokens and their cost, by model, backend, group, role, producer, day or month."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from openfall.producers.amounts import format_cost, format_usd
from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.spend import NO_CALLS, days_option
from openfall.producers.cli.tables import show_rows

if TYPE_CHECKING:
    from openfall.producers.client import AsyncOpenfall
    from openfall.router_core.state.ledger_sums import UsageRow

KEYS = ("model", "backend", "group", "role", "producer", "day", "month")
COLUMNS = (
    "calls", "answered", "failed", "fell back", "left home", "mean", "p50", "p95", "tokens in", "cached", "out",
    "reasoning", "spent", "p50 of cost", "p95 of cost", "unconfirmed", "saved",
)  # fmt: skip


@click.command()
@click.option("--by", type=click.Choice(KEYS), default="model", show_default=True, help="Group rows by this.")
@days_option
@common_options
def usage(by: str, days: int, config_path: Path | None, as_json: bool) -> None:
    """Show calls, tokens and their cost, by model, backend, group, role, producer, day or month.

    Every attempt counts as a call, and so do health prompts of openfall itself (`probes` in --json). `fell back` and
    `left home` are as in `openfall spend`. A producer is a program, or a key of the gateway; `*` sums up those beyond
    100 a day. Half of the calls are below `p50`, and 95 % below `p95`: estimates of the time, and of the known cost.
    `unconfirmed` may or may not have been billed. `saved` is what they cost less than at live prices. `-`: not known,
    or not counted by role and producer. --json has integers of nanodollars (`nusd`), and counts the calls of unknown
    cost as `unpriced`.
    """
    from openfall.router_core.state.ledger_sums import UsageKey, fetch_usage
    from openfall.router_core.state.model_status import last_days

    async def fetch(llm: AsyncOpenfall) -> list[UsageRow]:
        link = llm.store.connection
        return await fetch_usage(link, last_days(await llm.store.server_time(), days), UsageKey(by))

    rows = with_client(config_path, fetch)
    show_rows((by, *COLUMNS), _table(rows), [asdict(row) for row in rows], as_json, if_empty=NO_CALLS)


def _table(rows: Iterable[UsageRow]) -> Iterator[tuple[object, ...]]:
    for row in rows:
        counts = (row.calls, row.answered, row.failed, row.as_fallback, row.left_home)
        times = ("-" if t is None else f"{t:.1f}s" for t in (row.mean_seconds, row.p50_seconds, row.p95_seconds))
        tokens = (row.input_tokens, row.cached_tokens, row.output_tokens, row.reasoning_tokens)
        saved = row.saved_nusd + row.cache_saved_nusd
        money = map(_usd, (row.p50_nusd, row.p95_nusd, row.unconfirmed_nusd, saved))
        yield row.name or "-", *counts, *times, *tokens, format_cost(row.nusd / 1e9, row.unpriced), *money


def _usd(nusd: int | None) -> str:
    return "-" if nusd is None else format_usd(nusd / 1e9)
