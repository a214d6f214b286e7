"""`openfall cards`: lists the graphics cards whose models openfall loads and evicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openfall.producers.age import format_age
from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.tables import show_rows

if TYPE_CHECKING:
    from openfall.producers.client import AsyncOpenfall
    from openfall.router_core.state.card_memory import MemoryUse
    from openfall.router_core.state.card_status import CardStatus

COLUMNS = ("card", "models", "GB", "waiting", "now", "manager")
MEMORY_COLUMNS = ("card", "from (UTC)", "models GB", "others GB", "peak GB", "of GB")
BY_THE_MINUTE_SECONDS = 86_400.0
"""The memory of a longer time is shown by the hour."""
SHOWN_FROM_GB = 0.5
"""A driver and a desktop always use a little."""
NO_CARD = "no backend has vram_gb: openfall loads and evicts no models"


@click.command(short_help="List the graphics cards and their models.")
@click.option(
    "--memory", "span", metavar="DURATION", help="Show the memory in use since then: 2h, 30d (a year is kept)."
)
@common_options
def cards(span: str | None, config_path: Path | None, as_json: bool) -> None:
    """List the graphics cards: the models in memory, waiting jobs, what loads or leaves and why, and the worker that
    decides about them. With `--memory`: how much of their memory was in use, by the minute for a day, else by the
    hour."""
    from openfall.producers.request import parse_duration
    from openfall.router_core.state.card_status import fetch_card_status

    seconds = None if span is None else parse_duration(span)

    async def fetch(llm: AsyncOpenfall) -> tuple[list[CardStatus], dict[str, list[MemoryUse]]]:
        rows = await fetch_card_status(llm.store.connection, llm.config.catalog)
        return rows, {} if seconds is None else await _memory_over_time(llm, rows, seconds)

    rows, memory = with_client(config_path, fetch)
    columns, cells = COLUMNS, [_cells(row) for row in rows]
    if seconds is not None:
        columns, cells = MEMORY_COLUMNS, [_use_cells(card, use) for card, uses in memory.items() for use in uses]
    show_rows(columns, cells, [_json(row, memory.get(row.card)) for row in rows], as_json, if_empty=NO_CARD)


async def _memory_over_time(
    llm: AsyncOpenfall, rows: Sequence[CardStatus], seconds: float
) -> dict[str, list[MemoryUse]]:
    from openfall.router_core.state.card_memory import MemoryPeriod, fetch_card_memory

    period = MemoryPeriod.MINUTE if seconds <= BY_THE_MINUTE_SECONDS else MemoryPeriod.HOUR
    link, now = llm.store.connection, await llm.store.server_time()
    return {row.card: await fetch_card_memory(link, row.card, period, now, span_seconds=seconds) for row in rows}


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
    return f"{sum(model.gb for model in row.models) + row.foreign_gb:.1f} of {row.total_gb or row.vram_gb:g}{others}"


def _model(alias: str, load_state: str, gb: float, seconds: float | None) -> str:
    size = f" {gb:.1f} GB" if gb else ""
    return f"{alias} {load_state}{size}" + ("" if seconds is None else f" for {format_age(seconds)}")
