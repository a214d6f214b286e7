"""The graphics cards for people: the state of a model on a card, and since when. What no manager keeps is unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.card_state import CardState
from openfall.router_core.state.cards import fetch_cards, is_managed
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import LoadState


@dataclass(frozen=True, slots=True)
class StateOnCard:
    """The state of a model on a card. `since`: epoch seconds, None: unknown. `why`: may be empty."""

    load_state: LoadState
    since: float | None = None
    why: str = ""


def state_on_card(state: CardState, alias: str, now: float, *, in_use: bool) -> StateOnCard:
    """The state of a model on a card that a worker manages. `in_use`: it has calls in flight."""
    switch = state.switch
    if switch is not None and switch.load == alias:
        return StateOnCard(LoadState.LOADING, switch.since, switch.reason)
    if switch is not None and alias in switch.evict:
        return StateOnCard(LoadState.CLOSING, switch.since, switch.reason)
    resident = state.models.get(alias)
    if resident is not None:
        if alias in state.draining:
            return StateOnCard(LoadState.CLOSING, None, state.reason)
        return StateOnCard(LoadState.IN_USE if in_use else LoadState.READY, resident.ready_at)
    failed = state.refused.get(alias)
    if failed is None:
        return StateOnCard(LoadState.NOT_LOADED)
    why = f"its last load failed: {failed.why}"
    if failed.until <= now:
        return StateOnCard(LoadState.NOT_LOADED, None, why)
    return StateOnCard(LoadState.ERROR, failed.until - failed.seconds, why)


async def fetch_managed_cards(link: RedisConnection, catalog: Catalog) -> Mapping[str, CardState]:
    """The state of each card of the catalog that a worker manages now."""
    pools: dict[str, set[str]] = {}
    for name, backend in catalog.backends.items():
        if (card := catalog.card_of(name)) is not None:
            pools.setdefault(backend.pool, set()).add(card)
    managed = await asyncio.gather(*(is_managed(link, pool) for pool in pools))
    names = [card for cards, is_so in zip(pools.values(), managed, strict=True) if is_so for card in sorted(cards)]
    return await fetch_cards(link, names)
