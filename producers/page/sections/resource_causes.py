"""Budgets that are spent, and graphics cards whose models take turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from openfall.producers.amounts import format_usd
from openfall.producers.page.page_snapshot import PageSnapshot, Source
from openfall.producers.page.sections.cause import Cause
from openfall.producers.page.sources import BUDGETS
from openfall.router_core.state.budget_book import BudgetState
from openfall.router_core.state.card_state import CardState
from openfall.router_core.state.card_status import fetch_managed_cards
from openfall.router_core.state.fleet_status import QueueStatus
from openfall.router_core.state.keys import model_of
from openfall.router_core.vocabulary import Urgency

TURNS_SECONDS = 600.0
MIN_TURNS = 4
TURNS_SHARE = 0.25
"""Loads that take more than this share of a card's time, and are at least `MIN_TURNS` of late, delay everybody."""
MAX_NAMED = 3

CARD_STATES = Source("states of cards", fetch_managed_cards, every_seconds=5.0)


def resource_causes(snapshot: PageSnapshot) -> Iterator[Cause]:
    """What a budget or a card lacks."""
    yield from (_of_budget(state) for state in snapshot.sources.get(BUDGETS.name, ()) if state.is_spent)
    cards: Mapping[str, CardState] = snapshot.sources.get(CARD_STATES.name, {})
    for name, state in cards.items():
        turns = [seconds for began_at, seconds in state.loads if snapshot.now - began_at <= TURNS_SECONDS]
        if len(turns) >= MIN_TURNS and sum(turns) > TURNS_SHARE * TURNS_SECONDS:
            yield _of_turns(name, turns, snapshot)


def _of_turns(card: str, turns: Sequence[float], snapshot: PageSnapshot) -> Cause:
    loads = f"loaded models {len(turns)} times in 10 minutes, {sum(turns):.0f} s in all"
    waiting = _waiting_on(card, snapshot)
    waits = "; ".join(f"{queue.waiting:,} {queue.urgency} for {model}" for model, queue in waiting[:MAX_NAMED])
    text = f"The card {card} {loads}: they take turns" + (f". Jobs wait: {waits}" if waits else "")
    matters = waiting[0][0] if waiting else "MODEL"
    return Cause(text=text, section="cards", remedy=f"openfall models pin {matters}")


def _waiting_on(card: str, snapshot: PageSnapshot) -> list[tuple[str, QueueStatus]]:
    """The models of a card with their queues in which jobs wait: the most urgent first, then the longest wait."""
    catalog = snapshot.catalog
    on_card = {
        alias for alias, spec in catalog.models.items() if any(catalog.card_of(at) == card for at in spec.backends)
    }
    rows = [(model_of(queue.name), queue) for queue in snapshot.status.queues if queue.urgency and queue.waiting]
    urgencies = [*Urgency, None]
    ranked = sorted(rows, key=lambda row: (urgencies.index(row[1].urgency), -(row[1].oldest_seconds or 0.0)))
    return [row for row in ranked if row[0] in on_card]


def _of_budget(state: BudgetState) -> Cause:
    owner = f" of {state.owner}" if state.owner else ""
    needed = f"; the next call needs {format_usd(state.needed / 1e9)}" if state.needed else ""
    refused = f"; {state.refused:,} refused" if state.refused else ""
    money = f"{format_usd(state.used / 1e9)} of {format_usd(state.limit / 1e9)}"
    text = f"The budget {state.budget.name}{owner} is spent ({money}{needed}{refused})"
    until = None if state.window == "ever" else state.ends_at
    remedy = f"openfall budgets raise {state.budget.name} USD"
    return Cause(text=text, until=until, until_text="resets in", remedy=remedy, section="cost")
