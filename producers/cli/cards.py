"""`openfall cards`: lists the graphics cards whose models openfall loads and evicts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.render import format_age, show_table
from openfall.producers.cli.terminal import print_line, show_json

if TYPE_CHECKING:
    from openfall.producers.client import AsyncOpenfall
    from openfall.router_core.state.card_status import CardStatus

COLUMNS = ("card", "models", "GB", "waiting", "now", "manager")
SHOWN_FROM_GB = 0.5
"""A driver and a desktop always use a little."""
NO_CARD = "no backend has vram_gb: openfall loads and evicts no models"


@click.command(short_help="List the graphics cards and their models.")
@common_options
def cards(config_path: Path | None, as_json: bool) -> None:
    """List the graphics cards: the models in memory, waiting jobs, what loads or leaves and why, and the worker that
    decides about them."""
    from openfall.router_core.state.card_status import fetch_card_status

    async def fetch(llm: AsyncOpenfall) -> list[CardStatus]:
        return await fetch_card_status(llm.store.connection, llm.config.catalog)

    rows = with_client(config_path, fetch)
    if as_json:
        show_json([_json(row) for row in rows])
    elif not rows:
        print_line(NO_CARD)
    else:
        show_table(COLUMNS, (_cells(row) for row in rows))


def _json(row: CardStatus) -> dict[str, Any]:
    models = [asdict(model) for model in row.models]
    return {**asdict(row), "models": [{"state": model.pop("load_state"), **model} for model in models]}


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
