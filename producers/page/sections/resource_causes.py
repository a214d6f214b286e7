"""Budgets that are spent, and graphics cards whose models take turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from openfall.producers.amounts import format_usd
from openfall.producers.page.page_snapshot import PageSnapshot, Source
from openfall.producers.page.sections.block_causes import SilentRoles, stops
from openfall.producers.page.sections.calls_over_budget import CallOverBudget, calls_over_budget
from openfall.producers.page.sections.cause import Cause, FleetHealth
from openfall.producers.page.sources import BUDGETS
from openfall.producers.release_text import join_names
from openfall.router_core.placement.thrashing import MAX_LOAD_SHARE, WINDOW_SECONDS, is_thrashing
from openfall.router_core.routing.spent_budgets import budget_key
from openfall.router_core.state.budget_book import BudgetState
from openfall.router_core.state.card_state import CardState
from openfall.router_core.state.card_status import fetch_managed_cards
from openfall.router_core.state.fleet_status import QueueStatus
from openfall.router_core.state.keys import model_of
from openfall.router_core.vocabulary import Urgency

MIN_TURNS = 4
"""Fewer loads of a thrashing card are no turns: one load may be as long."""
MAX_NAMED = 3

CARD_STATES = Source("states of cards", fetch_managed_cards, every_seconds=5.0)


def resource_causes(silent: SilentRoles, snapshot: PageSnapshot) -> Iterator[Cause]:
    """What a budget or a card lacks."""
    states: Sequence[BudgetState] = snapshot.sources.get(BUDGETS.name, ())
    calls = {call.budget: call for job in snapshot.held_jobs for call in calls_over_budget(job)}
    for budget in states:
        call = calls.get(budget_key(budget.budget.name, budget.owner))
        if budget.is_spent or call:
            yield _of_budget(budget, call, silent)
    cards: Mapping[str, CardState] = snapshot.sources.get(CARD_STATES.name, {})
    for name, state in cards.items():
        turns = [seconds for began_at, seconds in state.loads if snapshot.now - began_at <= WINDOW_SECONDS]
        thrashes = is_thrashing(state.loads, snapshot.now, WINDOW_SECONDS, MAX_LOAD_SHARE)
        if len(turns) >= MIN_TURNS and thrashes:
            yield _of_turns(name, turns, snapshot)


def _of_turns(card: str, turns: Sequence[float], snapshot: PageSnapshot) -> Cause:
    loads = f"loaded models {len(turns)} times in 10 minutes, {sum(turns):.0f} s in all"
    waiting = _waiting_on(card, snapshot)
    waits = "; ".join(f"{queue.waiting:,} {queue.urgency} for {model}" for model, queue in waiting[:MAX_NAMED])
    text = f"The card {card} {loads}: they take turns" + (f". Jobs wait: {waits}" if waits else "")
    sizes = {alias: snapshot.catalog.models[alias].vram_gb or 0.0 for alias in _models_on(card, snapshot)}
    matters = waiting[0][0] if waiting else ""
    return Cause(
        text=text + _misfit(card, sizes, snapshot),
        advice=f"Pin {matters or 'the model that matters'}: {_others(matters, sizes)} then wait until it is unpinned",
        remedy=f"openfall models pin {matters or 'MODEL'}",
        action="pin-model" if matters else "",
        subject=matters,
        label=f"Pin {matters}",
        section="cards",
    )


def _others(pinned: str, sizes: Mapping[str, float]) -> str:
    """The models that do not fit beside a pinned one."""
    others = tuple(alias for alias in sizes if alias != pinned)
    return f"jobs for {join_names(others, 'and')}" if pinned and others else "jobs for the others"


def _misfit(card: str, sizes: Mapping[str, float], snapshot: PageSnapshot) -> str:
    """That the models of a card do not fit together."""
    total = sum(snapshot.catalog.backends[at].vram_gb or 0.0 for at in _backends_on(card, snapshot)[:1])
    if not total or sum(sizes.values()) <= total:
        return ""
    listed = " and ".join(f"{alias} ({gb:g} GB)" for alias, gb in list(sizes.items())[:MAX_NAMED])
    return f". {listed} do not fit together into its {total:g} GB"


def _backends_on(card: str, snapshot: PageSnapshot) -> list[str]:
    return [name for name in snapshot.catalog.backends if snapshot.catalog.card_of(name) == card]


def _models_on(card: str, snapshot: PageSnapshot) -> list[str]:
    at = set(_backends_on(card, snapshot))
    return [alias for alias, spec in snapshot.catalog.models.items() if not at.isdisjoint(spec.backends)]


def _waiting_on(card: str, snapshot: PageSnapshot) -> list[tuple[str, QueueStatus]]:
    """The models of a card with their queues in which jobs wait: the most urgent first, then the longest wait."""
    on_card = _models_on(card, snapshot)
    rows = [(model_of(queue.name), queue) for queue in snapshot.status.queues if queue.urgency and queue.waiting]
    urgencies = [*Urgency, None]
    ranked = sorted(rows, key=lambda row: (urgencies.index(row[1].urgency), -(row[1].oldest_seconds or 0.0)))
    return [row for row in ranked if row[0] in on_card]


def _of_budget(state: BudgetState, call: CallOverBudget | None, silent: SilentRoles) -> Cause:
    name, owner = state.budget.name, f" of {state.owner}" if state.owner else ""
    left, limit = format_usd(max(0, state.limit - state.used) / 1e9), format_usd(state.limit / 1e9)
    refused = f"; {state.refused:,} {'call' if state.refused == 1 else 'calls'} refused" if state.refused else ""
    if call is None:
        needed = f"; the next call needs {format_usd(state.needed / 1e9)}" if state.needed else ""
        text = f"The budget {name}{owner} is spent ({format_usd(state.used / 1e9)} of {limit}{needed}{refused})"
    else:
        text = f"The budget {name}{owner} has {left} of {limit} left"
        text += f", and the next call of {call.model} may cost {call.usd}{refused}"
    words = (f"budget {name} spent", f"budget {name} has too little left")
    is_cause = FleetHealth.FAILING in (stops(obstacle, silent) for obstacle in words)
    resets = state.window != "ever"
    return Cause(
        text=text,
        health=FleetHealth.FAILING if is_cause else FleetHealth.IMPAIRED,
        advice="Raise it, or wait" if resets else "Raise it",
        until=state.ends_at if resets else None,
        until_text="it resets in",
        remedy=f"openfall budgets raise {name} USD",
        action="raise-budget",
        subject=name,
        label=f"Raise {name}",
        section="cost",
    )
