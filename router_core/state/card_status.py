"""The graphics cards for people: the state of a model on a card, and since when. What no manager keeps is unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.placement.preload import PRELOADED
from openfall.router_core.state.card_state import CardState, ModelOnCard
from openfall.router_core.state.cards import fetch_card_manager, fetch_cards, is_managed
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.server_clock import fetch_server_time
from openfall.router_core.state.waiting_jobs import count_jobs
from openfall.router_core.vocabulary import LoadState, Urgency

OTHER_USERS = "models left its memory by themselves: something else uses its engine"


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
        load_state = LoadState.IN_USE if in_use else LoadState.READY
        return StateOnCard(load_state, resident.ready_at, _why_loaded(resident))
    failed = state.refused.get(alias)
    if failed is None:
        return StateOnCard(LoadState.NOT_LOADED)
    why = f"its last load failed: {failed.why}"
    if failed.until <= now:
        return StateOnCard(LoadState.NOT_LOADED, None, why)
    return StateOnCard(LoadState.ERROR, failed.since, why)


def _why_loaded(model: ModelOnCard) -> str:
    """Why a model is in memory, if no job waited for it."""
    return model.loaded_for if model.loaded_for.startswith(PRELOADED) else ""


async def fetch_managed_cards(link: RedisConnection, catalog: Catalog) -> Mapping[str, CardState]:
    """The state of each card of the catalog that a worker manages now."""
    pools: dict[str, set[str]] = {}
    for name, backend in catalog.backends.items():
        if (card := catalog.card_of(name)) is not None:
            pools.setdefault(backend.pool, set()).add(card)
    managed = await asyncio.gather(*(is_managed(link, pool) for pool in pools))
    names = [card for cards, is_so in zip(pools.values(), managed, strict=True) if is_so for card in sorted(cards)]
    return await fetch_cards(link, names)


@dataclass(frozen=True, slots=True)
class ModelShown:
    """A model in the memory of a card, or on its way in or out. `gb` 0 and `state_seconds` None: unknown. `pinned`: it
    leaves its card for no other model."""

    model: str
    load_state: LoadState
    state_seconds: float | None
    gb: float
    pinned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CardStatus:
    """A card for people. `foreign_gb`: memory in use by others. `total_gb`: as its driver says, 0: unknown. `waiting`:
    jobs by model. `reason`: why models load or leave. Without a manager (None) nothing is known of the memory."""

    card: str
    pool: str
    vram_gb: float
    foreign_gb: float
    total_gb: float
    models: tuple[ModelShown, ...]
    waiting: Mapping[str, int]
    reason: str
    manager: str | None
    manager_lease_seconds: float
    notice: str = ""
    """What an operator should know; may be empty."""

    @property
    def used_gb(self) -> float | None:
        """The memory that is in use, as far as it is known: by models, and by others where `total_gb` is known. None:
        no worker manages the card, or the size of a model in memory, or on its way, is not known."""
        if self.manager is None or not all(model.gb for model in self.models):
            return None
        return sum(model.gb for model in self.models) + self.foreign_gb


def models_shown(state: CardState, started: Mapping[str, int], catalog: Catalog, now: float) -> tuple[ModelShown, ...]:
    """The models of a card, those in memory first."""
    moving = () if state.switch is None else (*state.switch.evict, *filter(None, (state.switch.load,)))
    names = dict.fromkeys((*state.models, *moving))
    shown = []
    for alias in names:
        at = state_on_card(state, alias, now, in_use=started.get(alias, 0) > 0)
        seconds = None if at.since is None else max(0.0, now - at.since)
        gb = state.models[alias].gb if alias in state.models else 0.0
        pinned = state.pinned.get(alias, alias in catalog.models and catalog.models[alias].pinned)
        shown.append(ModelShown(alias, at.load_state, seconds, gb, pinned))
    return tuple(shown)


async def fetch_card_status(link: RedisConnection, catalog: Catalog) -> list[CardStatus]:
    """Every card of the catalog, in its order."""
    cards: dict[str, list[str]] = {}
    for name in catalog.backends:
        if (card := catalog.card_of(name)) is not None:
            cards.setdefault(card, []).append(name)
    now = await fetch_server_time(link)
    rows = (_card_status(link, catalog, card, backends, now) for card, backends in cards.items())
    return list(await asyncio.gather(*rows))


async def _card_status(
    link: RedisConnection, catalog: Catalog, card: str, backends: list[str], now: float
) -> CardStatus:
    backend = catalog.backends[backends[0]]
    manager = await fetch_card_manager(link, backend.pool)
    lease_seconds = 0.0 if manager is None else manager.until - now
    is_managed_now = manager is not None and lease_seconds > 0
    state = (await fetch_cards(link, [card]))[card] if is_managed_now else CardState()
    waiting, started = await _count_jobs(link, catalog, backends)
    reason = state.reason if state.switch is None else state.switch.reason
    return CardStatus(
        card=card,
        pool=backend.pool,
        vram_gb=backend.vram_gb or 0.0,
        foreign_gb=state.foreign_gb,
        total_gb=state.total_gb,
        models=models_shown(state, started, catalog, now),
        waiting=waiting,
        reason=reason if state.switch is not None or state.draining else "",
        manager=manager.worker if manager is not None and is_managed_now else None,
        manager_lease_seconds=max(0.0, lease_seconds),
        notice=OTHER_USERS if state.has_other_users(now) else "",
    )


async def _count_jobs(
    link: RedisConnection, catalog: Catalog, backends: list[str]
) -> tuple[dict[str, int], dict[str, int]]:
    """The jobs of the models of a card, by model: those that wait, and those that are started."""
    models = [
        alias
        for alias, spec in catalog.models.items()
        if not spec.passed_on and not set(backends).isdisjoint(spec.backends)
    ]
    queues = [(alias, catalog.queue(alias, urgency)) for alias in models for urgency in Urgency]
    counts = await count_jobs(link, [queue for _, queue in queues])
    waiting, started = dict.fromkeys(models, 0), dict.fromkeys(models, 0)
    for (alias, _), (waits_here, starts_here) in zip(queues, counts, strict=True):
        waiting[alias] += waits_here
        started[alias] += starts_here
    return waiting, started
