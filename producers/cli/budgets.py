"""`openfall budgets`: what each budget has spent, and what is left of it; raise one for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from openfall.producers.cli.options import common_options, with_client, with_operator
from openfall.producers.cli.render import format_time, format_usd, show_table
from openfall.producers.cli.terminal import print_line, show_json

if TYPE_CHECKING:
    from openfall.producers.client import AsyncOpenfall
    from openfall.router_core.state.budget_book import BudgetState

COLUMNS = (
    "budget",
    "of",
    "window",
    "limit",
    "spent",
    "reserved",
    "unconfirmed",
    "left",
    "forecast",
    "calls",
    "refused",
    "anew at",
)


@click.group(invoke_without_command=True)
@click.pass_context
@common_options
def budgets(ctx: click.Context, config_path: Path | None, as_json: bool) -> None:
    """List the budgets of the configuration in their present windows.

    `reserved` is held for calls in flight; `unconfirmed` may have been billed, and is not known. `forecast` is the
    expected cost of the whole window, by its pace so far and four earlier windows like it; `!` if that is more than the
    limit. --json has integers of nanodollars.
    """
    if ctx.invoked_subcommand is not None:
        return
    states = with_client(config_path, _fetch)
    if as_json:
        show_json([_as_json(state) for state in states])
    elif not states:
        print_line("no budgets: add `budgets` to the configuration, or daily_usd to a group")
    else:
        show_table(COLUMNS, _rows(states))


@budgets.command("raise")
@click.argument("name")
@click.argument("usd", type=click.FloatRange(min=0))
@click.option("--for", "duration", default="1d", show_default=True, help="How long: 90s, 5m, 2h, 1d.")
@common_options
def raise_(name: str, usd: float, duration: str, config_path: Path | None, as_json: bool) -> None:
    """Raise the limit of a budget by some US dollars for a while. 0 ends that. It counts from the next claim on."""
    from openfall.producers.operations.budget_raise import raise_budget

    until = with_operator(config_path, lambda operator: raise_budget(operator, name, usd, duration))
    if as_json:
        show_json({"budget": name, "raised_nusd": round(usd * 1e9), "until": until})
    else:
        print_line(f"budget {name}: {format_usd(usd)} more until {format_time(until)}")


async def _fetch(llm: AsyncOpenfall) -> list[BudgetState]:
    from openfall.router_core.catalog.budget_scope import all_budgets
    from openfall.router_core.state.budget_book import list_budgets

    now = await llm.store.server_time()
    return await list_budgets(llm.store.connection, all_budgets(llm.config.catalog), now)


def _rows(states: Sequence[BudgetState]) -> Iterator[tuple[object, ...]]:
    for state in states:
        money = (state.limit, state.spent, state.reserved, state.unconfirmed, state.left)
        amounts = (format_usd(nanodollars / 1e9) for nanodollars in money)
        ends = "never" if state.window == "ever" else format_time(state.ends_at)
        counts = state.calls, state.refused
        yield state.budget.name, state.who or "all", state.window, *amounts, _forecast(state), *counts, ends


def _forecast(state: BudgetState) -> str:
    if state.forecast is None:
        return "-"
    return format_usd(state.forecast.nusd / 1e9) + (" !" if state.forecast.exceeds_at is not None else "")


def _as_json(state: BudgetState) -> dict[str, object]:
    return {
        "budget": state.budget.name,
        "who": state.who or None,
        "window": state.window,
        "ends_at": None if state.window == "ever" else state.ends_at,
        "limit_nusd": state.limit,
        "spent_nusd": state.spent,
        "reserved_nusd": state.reserved,
        "unconfirmed_nusd": state.unconfirmed,
        "left_nusd": state.left,
        "forecast_nusd": None if state.forecast is None else state.forecast.nusd,
        "exceeds_at": None if state.forecast is None else state.forecast.exceeds_at,
        "calls": state.calls,
        "refused": state.refused,
    }
