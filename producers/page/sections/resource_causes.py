"""Budgets that are spent, and graphics cards whose models take turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from openfall.producers.page.page_snapshot import PageSnapshot, Source
from openfall.producers.page.sections.cause import Cause
from openfall.producers.page.sources import BUDGETS
from openfall.router_core.state.budget_book import BudgetState
from openfall.router_core.state.card_state import CardState
from openfall.router_core.state.card_status import fetch_managed_cards

TURNS_SECONDS = 600.0
MIN_TURNS = 4
TURNS_SHARE = 0.25
"""Loads that take more than this share of a card's time, and are at least `MIN_TURNS` of late, delay everybody."""

CARD_STATES = Source("states of cards", fetch_managed_cards, every_seconds=5.0)


def resource_causes(snapshot: PageSnapshot) -> Iterator[Cause]:
    """What a budget or a card lacks."""
    yield from map(_of_budget, filter(_is_spent, snapshot.sources.get(BUDGETS.name, ())))
    cards: Mapping[str, CardState] = snapshot.sources.get(CARD_STATES.name, {})
    for name, state in cards.items():
        turns = [seconds for began_at, seconds in state.loads if snapshot.now - began_at <= TURNS_SECONDS]
        if len(turns) >= MIN_TURNS and sum(turns) > TURNS_SHARE * TURNS_SECONDS:
            loads = f"loaded models {len(turns)} times in 10 minutes, {sum(turns):.0f} s in all"
            text = f"The card {name} {loads}: they take turns"
            yield Cause(text=text, remedy="openfall cards; openfall models pin NAME, or another card")


def _is_spent(state: BudgetState) -> bool:
    return state.left <= 0 or state.refused > 0


def _of_budget(state: BudgetState) -> Cause:
    who = f" of {state.who}" if state.who else ""
    verb = "is spent" if state.left <= 0 else "has no room for some calls"
    refused = f"; {state.refused:,} refused" if state.refused else ""
    money = f"${state.spent / 1e9:.2f} of ${state.limit / 1e9:.2f}"
    text = f"The budget {state.budget.name}{who} {verb} ({money}{refused})"
    until = None if state.window == "ever" else state.ends_at
    remedy = f"openfall budgets raise {state.budget.name} USD"
    return Cause(text=text, until=until, until_text="anew in", remedy=remedy)
