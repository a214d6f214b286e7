"""Why a job waits for a graphics card, in words. Each text says only what the manager of the card keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openfall.producers.duration_text import format_age
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.routing.fleet_state import FOREVER
from openfall.router_core.state.card_state import CardState
from openfall.router_core.state.card_status import fetch_managed_cards, state_on_card
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.server_clock import fetch_server_time
from openfall.router_core.state.waiting_jobs import count_waiting
from openfall.router_core.vocabulary import LoadState, Urgency


@dataclass(frozen=True, slots=True)
class WaitingForCard:
    """A job that waits for a model on a card. `waiting`: jobs for the models in memory, at least as urgent."""

    alias: str
    urgency: Urgency
    waiting: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CardLoad:
    """A model that waits for a card. `starts`: when a job of each urgency could start, in epoch seconds, where its
    manager expects it."""

    card: str
    starts: Mapping[Urgency, float]


def pending_loads(cards: Mapping[str, CardState], catalog: Catalog, now: float) -> dict[str, CardLoad]:
    """The models that need a card and are in the memory of none, each with the card that could load it first. `cards`:
    those that a worker manages."""
    loads = {}
    for alias, spec in catalog.models.items():
        own = {card: cards[card] for card in map(catalog.card_of, spec.backends) if card is not None and card in cards}
        if not needs_card(catalog, alias) or not own or any(_takes_calls(state, alias, now) for state in own.values()):
            continue
        starts = {card: _starts(state, alias, now) for card, state in own.items()}
        first = min(starts, key=lambda card: min(starts[card].values(), default=FOREVER))
        loads[alias] = CardLoad(first, starts[first])
    return loads


def _takes_calls(state: CardState, alias: str, now: float) -> bool:
    return state_on_card(state, alias, now, in_use=False).load_state is LoadState.READY


def _starts(state: CardState, alias: str, now: float) -> dict[Urgency, float]:
    seconds = state.starts_in(alias, now) or ()
    return {urgency: now + each for urgency, each in zip(Urgency, seconds, strict=False) if each < FOREVER}


def describe_card_wait(job: WaitingForCard, card: str, state: CardState, now: float) -> str:
    """Why no job of a model is called at a card now, and when one could be. Empty: the model takes calls."""
    alias = job.alias
    at = state_on_card(state, alias, now, in_use=False)
    since = "" if at.since is None else f" for {format_age(now - at.since)}"
    match at.load_state:
        case LoadState.READY:
            starts = state.starts_in(alias, now)
            if starts is None or not starts[list(Urgency).index(job.urgency)]:
                return ""
            reason = f" ({state.reason})" if state.reason else ""
            return f"{alias} takes only more urgent jobs on card {card}{reason}{_start(job, state, now)}"
        case LoadState.LOADING:
            usual = f"; its loads take about {state.switch.seconds:.0f} s" if state.switch else ""
            return f"card {card} has been loading {alias}{since}{usual}"
        case LoadState.CLOSING:
            return f"{alias} leaves card {card}" + (f": {at.why}" if at.why else "") + _start(job, state, now)
        case LoadState.ERROR:
            seconds = state.refused[alias].until - now
            return f"{alias} is not loaded: {at.why}; card {card} tries it again in {seconds:.0f} s"
        case _:
            reason = f" ({state.reason})" if state.reason else ""
            content = describe_content(state, job.waiting)
            return f"{alias} is not loaded; card {card} {content}{reason}{_start(job, state, now)}"


def _start(job: WaitingForCard, state: CardState, now: float) -> str:
    """When it could start, as the manager of the card expects. Empty: it expects nothing."""
    if job.alias in state.too_large:
        needed_gb, free_gb = state.too_large[job.alias]
        return f"; it needs {needed_gb:.1f} GB, and others leave {free_gb:.1f} GB of the card"
    starts = state.starts_in(job.alias, now)
    if starts is None:
        return ""
    seconds = starts[list(Urgency).index(job.urgency)]
    if seconds == FOREVER:
        return "; its manager names no time for its load"
    return f"; its manager expects a start in about {format_age(seconds)}"


def describe_content(state: CardState, waiting: Mapping[str, int]) -> str:
    """What a card has in memory or loads, to stand behind its name. `waiting`: jobs for the models in memory."""
    if state.switch is not None and state.switch.load:
        return f"is loading {state.switch.load}"
    if not state.models:
        return "has no model in memory"
    return "has " + ", ".join(
        _resident(alias, alias in state.draining, waiting.get(alias, 0)) for alias in state.models
    )


def _resident(alias: str, leaves: bool, jobs: int) -> str:
    if leaves:
        return f"{alias} (it leaves when its calls have ended)"
    if not jobs:
        return alias
    return f"{alias} ({jobs} {'job waits' if jobs == 1 else 'jobs wait'} for it, at least as urgent)"


async def explain_card_wait(link: RedisConnection, catalog: Catalog, alias: str, urgency: Urgency, now: float) -> str:
    """Why no job of a model is called at any of its cards. Empty: one takes its calls, or it needs no card."""
    waits = await _card_waits(link, catalog, alias, urgency, now)
    return "; ".join(text for _, text in waits.values())


async def card_wait_event(
    link: RedisConnection, catalog: Catalog, alias: str, urgency: Urgency
) -> dict[str, Any] | None:
    """An event for a caller whose job waits for a card: `model_switching` while a card loads the model, and else
    `waiting_for_model`. `eta_seconds` None: unknown. None: it waits for no card."""
    if not needs_card(catalog, alias):
        return None
    now = await fetch_server_time(link)
    waits = await _card_waits(link, catalog, alias, urgency, now)
    if not waits:
        return None
    loading = {card: state.switch for card, (state, _) in waits.items() if state.switch and state.switch.load == alias}
    number = list(Urgency).index(urgency)
    starts = filter(None, (state.starts_in(alias, now) for state, _ in waits.values()))
    eta = min((each[number] for each in starts if each[number] < FOREVER), default=None)
    event: dict[str, Any] = {"event": "waiting_for_model", "model": alias, "card": next(iter(waits))}
    for card, switch in loading.items():
        eta = max(0.0, switch.since + switch.seconds - now)
        event = {"event": "model_switching", "model": alias, "card": card, "from": list(switch.evict)}
    why = "; ".join(text for _, text in waits.values())
    return {**event, "eta_seconds": None if eta is None else round(eta), "why": why}


def needs_card(catalog: Catalog, alias: str) -> bool:
    """Whether every call of a model needs a card that openfall manages."""
    spec = catalog.models.get(alias)
    return spec is not None and not spec.passed_on and all(map(catalog.card_of, spec.backends))


async def _card_waits(
    link: RedisConnection, catalog: Catalog, alias: str, urgency: Urgency, now: float
) -> dict[str, tuple[CardState, str]]:
    """The cards of a model with their states, and why each takes no call of it. Empty: one does, or none is managed."""
    if not needs_card(catalog, alias):
        return {}
    cards = {catalog.card_of(backend) for backend in catalog.models[alias].backends}
    states = {card: state for card, state in (await fetch_managed_cards(link, catalog)).items() if card in cards}
    residents = {name for state in states.values() for name in state.models if name in catalog.models}
    urgencies = list(Urgency)[: list(Urgency).index(urgency) + 1]
    waiting = {
        name: sum(await asyncio.gather(*(count_waiting(link, catalog.queue(name, level)) for level in urgencies)))
        for name in residents
    }
    job = WaitingForCard(alias, urgency, waiting)
    waits = {card: (state, describe_card_wait(job, card, state, now)) for card, state in states.items()}
    return waits if all(text for _, text in waits.values()) else {}
