"""Budgets that are spent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from openfall.producers.amount_text import format_usd
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.calls_over_budget import CallOverBudget, calls_over_budget
from openfall.producers.page.sections.cause import Cause, FleetHealth
from openfall.producers.page.sections.operator_switch_causes import SilentRoles, stops
from openfall.producers.page.sources import BUDGETS
from openfall.producers.runbook import RunbookSection
from openfall.router_core.routing.spent_budgets import budget_key
from openfall.router_core.state.budget_book import BudgetState


def budget_causes(silent: SilentRoles, snapshot: PageSnapshot) -> Iterator[Cause]:
    """The budgets that are spent, or have too little left for the next call."""
    states: Sequence[BudgetState] = snapshot.sources.get(BUDGETS.name, ())
    calls = {call.budget: call for job in snapshot.held_jobs for call in calls_over_budget(job, snapshot.catalog)}
    for budget in states:
        call = calls.get(budget_key(budget.budget.name, budget.owner))
        if budget.is_spent or call:
            yield _of_budget(budget, call, silent)


def _of_budget(state: BudgetState, call: CallOverBudget | None, silent: SilentRoles) -> Cause:
    name, owner = state.budget.name, f" of {state.owner}" if state.owner else ""
    left, limit = format_usd(max(0, state.limit - state.used) / 1e9), format_usd(state.limit / 1e9)
    refused = f"; {state.refused:,} {'call' if state.refused == 1 else 'calls'} did not fit" if state.refused else ""
    if call is None:
        needed = f"; the next call needs {format_usd(state.needed / 1e9)}" if state.needed else ""
        text = f"The budget {name}{owner} is spent ({format_usd(state.used / 1e9)} of {limit}{needed}{refused})"
    else:
        text = f"The budget {name}{owner} has {left} of {limit} left"
        text += f", and the next call of {call.model} may cost up to {format_usd(call.bound / 1e9)}{refused}"
    words = (f"budget {name} spent", f"budget {name} has too little left")
    is_cause = FleetHealth.FAILING in (stops(obstacle, silent) for obstacle in words)
    add = _needed_usd(state, call.bound if call else state.needed)
    raise_it = f"Raise it by ${add} or more" if add else "Raise it"
    resets = state.window != "ever"
    return Cause(
        text=text,
        health=FleetHealth.FAILING if is_cause else FleetHealth.IMPAIRED,
        advice=f"{raise_it}, or wait until it resets" if resets else raise_it,
        until=state.ends_at if resets else None,
        until_text="in",
        remedy=f"openfall budgets raise {name} {add or 'USD'}",
        action="raise-budget",
        subject=name,
        label=f"Raise {name}",
        section="cost",
        runbook=RunbookSection.BUDGET_SPENT,
    )


def _needed_usd(state: BudgetState, bound: int) -> str:
    """What the limit lacks for a call of `bound` nanodollars, in whole cents. Empty: nothing that is known."""
    missing = bound - (state.limit - state.used) if bound else 0
    return f"{math.ceil(missing / 1e7) / 100:.2f}" if missing > 0 else ""
