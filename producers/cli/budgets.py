"""`openfall budgets`: what each budget has spent, and what is left of it; raise one for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from openfall.producers.amount_text import format_usd
from openfall.producers.cli.options import common_options, listing_group, with_client, with_operator
from openfall.producers.cli.tables import show_table
from openfall.producers.cli.terminal import print_line, show_json, wants_json
from openfall.producers.cli.time_options import DURATION
from openfall.producers.client import AsyncOpenfall
from openfall.producers.duration_text import format_time
from openfall.producers.operations.budget_raise import raise_budget
from openfall.router_core.state.budget_book import BudgetState
from openfall.router_core.state.money_report import MoneyReport, read_money
from openfall.router_core.state.subscription_plans import PlanState

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
    "resets at",
)
PLAN_COLUMNS = ("subscription", "key", "window", "calls", "used up by", "used", "resets at")


@listing_group
@common_options
def budgets() -> None:
    """List the budgets of the configuration in their present windows.

    `reserved` is held for calls in flight; `unconfirmed` may or may not have been billed. `forecast` is the
    expected cost of the whole window, by its pace so far and four earlier windows like it; `!` if that is more than the
    limit. Below them are the windows of subscriptions: their calls, how many calls used them up before, and
    the used share as the provider names it, else by the calls. --json
    has integers of nanodollars; an entry with `window_seconds` is one of a subscription.
    """
    report = with_client(_fetch)
    if wants_json():
        show_json([*map(_as_json, report.budgets), *map(asdict, report.plans)])
        return
    if not report.budgets and not report.plans:
        print_line("no budgets: add `budgets` to the configuration, or daily_usd to a group")
    if report.budgets:
        show_table(COLUMNS, _rows(report.budgets))
    if report.plans:
        show_table(PLAN_COLUMNS, _plan_rows(report.plans))


@budgets.command("raise")
@click.argument("name")
@click.argument("usd", type=click.FloatRange(min=0))
@click.option("--for", "duration", type=DURATION, default="1d", show_default=True, help="How long: 90s, 5m, 2h, 1d.")
@common_options
def raise_(name: str, usd: float, duration: str) -> None:
    """Raise the limit of a budget by some US dollars for a while. It counts from the next claim on.

    It is added to the raises before it, each of which lasts until its own end. 0 ends all of them.
    """
    done = with_operator(lambda operator: raise_budget(operator, name, usd, duration))
    if wants_json():
        show_json({"budget": name, "by_nusd": round(usd * 1e9), "until": done.until, "raised_nusd": done.total_nusd})
    elif usd:
        total = format_usd(done.total_nusd / 1e9)
        print_line(
            f"budget {name}: {format_usd(usd)} more until {format_time(done.until)}; now it is raised by {total}"
        )
    else:
        print_line(f"budget {name}: its raises have ended")


async def _fetch(llm: AsyncOpenfall) -> MoneyReport:
    return await read_money(llm.store.connection, llm.config.catalog, await llm.store.server_time())


def _plan_rows(plans: Sequence[PlanState]) -> Iterator[tuple[object, ...]]:
    for plan in plans:
        share = "-" if plan.share is None else f"{plan.share:.0%}"
        cap = "not known" if plan.cap is None else plan.cap
        window = f"{plan.window_seconds / 3600:g} h"
        calls = "-" if plan.calls is None else plan.calls
        yield plan.backend, plan.number, window, calls, cap, share, format_time(plan.resets_at)


def _rows(states: Sequence[BudgetState]) -> Iterator[tuple[object, ...]]:
    for state in states:
        money = (state.limit, state.spent, state.reserved, state.unconfirmed, state.left)
        amounts = (format_usd(nanodollars / 1e9) for nanodollars in money)
        ends = "never" if state.window == "ever" else format_time(state.ends_at)
        counts = state.calls, state.refused
        yield state.budget.name, state.owner or "all", state.window, *amounts, _forecast(state), *counts, ends


def _forecast(state: BudgetState) -> str:
    if state.forecast is None:
        return "-"
    return format_usd(state.forecast.nusd / 1e9) + (" !" if state.forecast.exceeds_at is not None else "")


def _as_json(state: BudgetState) -> dict[str, object]:
    return {
        "budget": state.budget.name,
        "owner": state.owner or None,
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
