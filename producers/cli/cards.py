"""`openfall cards`: lists the graphics cards whose models openfall loads and evicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.tables import show
from openfall.producers.cli.time_options import DURATION
from openfall.producers.client import AsyncOpenfall
from openfall.producers.duration_text import format_age
from openfall.producers.job_request import parse_duration
from openfall.producers.table import Table
from openfall.router_core.state.card_memory import DAY_SECONDS, MemoryUse, fetch_card_memory
from openfall.router_core.state.card_status import CardStatus, fetch_card_status

COLUMNS = ("card", "models", "GB", "waiting", "now", "manager")
MEMORY_COLUMNS = ("card", "from (UTC)", "models GB", "others GB", "peak GB", "of GB")
SHOWN_FROM_GB = 0.5
"""A driver and a desktop always use a little."""
NO_MEMORY = "the use of no card is known within this time"
NO_CARD = "no backend has vram_gb: openfall loads and evicts no models"


@click.command(short_help="List the graphics cards and their models.")
@click.option("--memory", is_flag=True, help="Show the memory in use over time.")
@click.option(
    "--since", type=DURATION, help="With --memory: within this time, 2h or 30d. A year is kept.  [default: 1d]"
)
@common_options
def cards(memory: bool, since: str | None) -> None:
    """List the graphics cards: the models in memory, waiting jobs, what loads or leaves and why, and the worker that
    decides about them. With `--memory`: how much of their memory was in use, by the minute for a day, else by the
    hour."""
    if since is not None and not memory:
        raise click.UsageError("--since is for --memory: openfall cards --memory --since 30d")
    seconds = DAY_SECONDS if since is None else parse_duration(since, "--since")

    async def fetch(llm: AsyncOpenfall) -> tuple[list[CardStatus], dict[str, list[MemoryUse]]]:
        rows = await fetch_card_status(llm.store.connection, llm.config.catalog)
        if not memory:
            return rows, {}
        now = await llm.store.server_time()
        return rows, await fetch_card_memory(llm.store.connection, [row.card for row in rows], seconds, now)

    rows, uses_of = with_client(fetch)
    columns, cells = COLUMNS, [_cells(row) for row in rows]
    if memory:
        columns, cells = MEMORY_COLUMNS, [_use_cells(card, use) for card, uses in uses_of.items() for use in uses]
    if_empty = NO_MEMORY if rows else NO_CARD
    show(Table(columns=columns, rows=cells, if_empty=if_empty), [_json(row, uses_of.get(row.card)) for row in rows])


def _json(row: CardStatus, memory: Sequence[MemoryUse] | None) -> dict[str, Any]:
    models = [asdict(model) for model in row.models]
    shown = {**asdict(row), "models": [{"state": model.pop("load_state"), **model} for model in models]}
    return shown if memory is None else shown | {"memory": [asdict(use) for use in memory]}


def _use_cells(card: str, use: MemoryUse) -> tuple[object, ...]:
    at = datetime.fromtimestamp(use.at, UTC)
    sizes = (f"{gb:.1f}" for gb in (use.models_gb, use.others_gb, use.peak_gb))
    return (card, f"{at:%Y-%m-%d %H:%M}", *sizes, f"{use.total_gb:g}" if use.total_gb else "-")


def _cells(row: CardStatus) -> tuple[object, ...]:
    return (
        row.card,
        "\n".join(_model(model.model, model.load_state, model.gb, model.state_seconds) for model in row.models) or "-",
        _memory(row),
        " ".join(f"{jobs} {model}" for model, jobs in row.waiting.items() if jobs) or "-",
        "\n".join(filter(None, (row.reason, row.notice))) or "-",
        "no worker" if row.manager is None else f"{row.manager} (lease: {row.manager_lease_seconds:.0f}s)",
    )


def _memory(row: CardStatus) -> str:
    others = f"\n{row.foreign_gb:.1f} by others" if row.foreign_gb >= SHOWN_FROM_GB else ""
    used = "?" if row.used_gb is None else f"{row.used_gb:.1f}"
    return f"{used} of {row.total_gb or row.vram_gb:g}{others}"


def _model(alias: str, load_state: str, gb: float, seconds: float | None) -> str:
    size = f" {gb:.1f} GB" if gb else ""
    return f"{alias} {load_state}{size}" + ("" if seconds is None else f" for {format_age(seconds)}")
