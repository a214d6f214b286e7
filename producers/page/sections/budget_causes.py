"""Budgets that are spent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.calls_over_budget import CallOverBudget, calls_over_budget
from openfall.producers.page.sections.cause import Cause, FleetHealth
from openfall.producers.page.sections.operator_switch_causes import SilentRoles, stops
from openfall.producers.page.sources import BUDGETS
from openfall.producers.runbook import RunbookSection
from openfall.producers.shell_command import shell_command
from openfall.router_core.catalog.budget_scope import is_counted
from openfall.router_core.jobs.over_budget import format_nanodollars
from openfall.router_core.routing.spent_budgets import budget_key
from openfall.router_core.state.budget_book import BudgetState
from openfall.router_core.state.keys import model_of


def budget_causes(silent: SilentRoles, snapshot: PageSnapshot) -> Iterator[Cause]:
    """The budgets that are spent, or have too little left for the next call."""
    states: Sequence[BudgetState] = snapshot.sources.get(BUDGETS.name, ())
    for state in states:
        demand = _demand(state, snapshot)
        if state.is_spent or demand.held:
            yield _of_budget(state, demand, silent)


@dataclass(frozen=True, slots=True)
class _Demand:
    """The calls that a budget keeps waiting: of `held` jobs, each with what it may cost at most, and of `waiting` jobs
    in the queues of models that it counts. `has_more`: of the held jobs only those that are held longest are read."""

    held: tuple[CallOverBudget, ...]
    waiting: int
    has_more: bool

    def missing(self, state: BudgetState) -> tuple[int, int]:
        """What the limit lacks for the next call, and for all of them at once, in nanodollars."""
        bounds = [call.bound for call in self.held]
        next_call = bounds[0] if bounds else state.needed
        every = sum(bounds) + self.waiting * max([next_call, *bounds])
        left = state.limit - state.used
        return max(0, next_call - left) if next_call else 0, max(0, max(every, next_call) - left) if next_call else 0

    @property
    def jobs(self) -> str:
        """`19 held jobs`, `19 held and 2 waiting jobs`."""
        parts = [f"{count:,} {kind}" for count, kind in ((len(self.held), "held"), (self.waiting, "waiting")) if count]
        first = "first " if self.has_more and self.held else ""
        return f"{first}{' and '.join(parts)} {'job' if len(self.held) + self.waiting == 1 else 'jobs'}"

    def describe_raise(self, state: BudgetState) -> tuple[str, str]:
        """How much to raise the budget, and what that covers; and the amount. Empty: the amount is not known."""
        next_call, every = map(_whole_cents, self.missing(state))
        if not every:
            return "Raise it", ""
        if every == next_call:
            text = f"Raise it by ${every} or more (in whole cents) for the next call"
        else:
            text = f"Raise it by ${every} for one call of each of the {self.jobs}, or by ${next_call} for the next call"
        return f"{text}; calls of other jobs may use it up before", every


def _demand(state: BudgetState, snapshot: PageSnapshot) -> _Demand:
    """Held jobs beyond those that the snapshot has are not counted."""
    catalog, name = snapshot.catalog, state.budget.name
    key = budget_key(name, state.owner)
    first_calls = (next(calls_over_budget(job, catalog), None) for job in snapshot.held_jobs)
    held = tuple(call for call in first_calls if call is not None and call.budget == key)
    counted = {alias for alias in catalog.models if is_counted(catalog, name, alias)}
    waiting = sum(queue.waiting for queue in snapshot.status.queues if model_of(queue.name) in counted)
    return _Demand(held, waiting, snapshot.held.examined < snapshot.held.total)


def _of_budget(state: BudgetState, demand: _Demand, silent: SilentRoles) -> Cause:
    name, owner = state.budget.name, f" of {state.owner}" if state.owner else ""
    left, limit = state.limit - state.used, format_nanodollars(state.limit)
    has = (
        f"{format_nanodollars(left)} of {limit} left"
        if left >= 0
        else f"used {format_nanodollars(-left)} more than its {limit}"
    )
    if demand.held:
        call = demand.held[0]
        text = f"The budget {name}{owner} has {has}"
        text += f", and the next call of {call.model} may cost up to {format_nanodollars(call.bound)}"
    else:
        needed = f"; the next call may cost up to {format_nanodollars(state.needed)}" if state.needed else ""
        text = f"The budget {name}{owner} is spent ({format_nanodollars(state.used)} of {limit}{needed})"
    words = (f"budget {name} spent", f"budget {name} has too little left")
    is_cause = FleetHealth.FAILING in (stops(obstacle, silent) for obstacle in words)
    raise_it, usd = demand.describe_raise(state)
    resets = state.window != "ever"
    return Cause(
        text=text,
        health=FleetHealth.FAILING if is_cause else FleetHealth.IMPAIRED,
        advice=f"{raise_it}. Or wait until it resets" if resets else raise_it,
        until=state.ends_at if resets else None,
        until_text="in",
        subject=name,
        remedy=shell_command("openfall budgets raise", name, usd or "USD"),
        action="raise-budget",
        buttons=((name, f"Raise {name}"),),
        section="cost",
        runbook=RunbookSection.BUDGET_SPENT,
    )


def _whole_cents(nanodollars: int) -> str:
    """US dollars, rounded up. Empty: none."""
    return f"{math.ceil(nanodollars / 1e7) / 100:.2f}" if nanodollars else ""
