"""Why a job waits for a graphics card, in words. Each text says only what the manager of the card keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from openfall.producers.age import format_age
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.card_state import CardState
from openfall.router_core.state.card_status import fetch_managed_cards, state_on_card
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.waiting_jobs import count_waiting
from openfall.router_core.vocabulary import LoadState, Urgency


def describe_card_wait(alias: str, card: str, state: CardState, waiting: Mapping[str, int], now: float) -> str:
    """Why no job of a model is called at a card now. Empty: the model is in memory there, and takes calls.

    `waiting`: for the models in memory, the jobs that wait and are at least as urgent.
    """
    at = state_on_card(state, alias, now, in_use=False)
    since = "" if at.since is None else f" for {format_age(now - at.since)}"
    match at.load_state:
        case LoadState.READY:
            return ""
        case LoadState.LOADING:
            usual = f"; a load takes about {state.switch.seconds:.0f} s" if state.switch else ""
            return f"card {card} has been loading {alias}{since}{usual}"
        case LoadState.CLOSING:
            return f"{alias} leaves card {card}" + (f": {at.why}" if at.why else "")
        case LoadState.ERROR:
            seconds = state.refused[alias].until - now
            return f"{alias} is not loaded: {at.why}; card {card} tries it again in {seconds:.0f} s"
        case _:
            return f"{alias} is not loaded; card {card} {_content(state, waiting)}"


def _content(state: CardState, waiting: Mapping[str, int]) -> str:
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
    spec = catalog.models[alias]
    cards = {catalog.card_of(backend) for backend in spec.backends}
    if spec.passed_on or None in cards:
        return ""
    states = {card: state for card, state in (await fetch_managed_cards(link, catalog)).items() if card in cards}
    residents = {name for state in states.values() for name in state.models if name in catalog.models}
    urgencies = list(Urgency)[: list(Urgency).index(urgency) + 1]
    waiting = {
        name: sum(await asyncio.gather(*(count_waiting(link, catalog.queue(name, level)) for level in urgencies)))
        for name in residents
    }
    texts = [describe_card_wait(alias, card, state, waiting, now) for card, state in states.items()]
    return "" if "" in texts else "; ".join(texts)
