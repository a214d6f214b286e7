"""Which model an idle card loads before a job waits for it: docs/placement.md."""

from __future__ import annotations

from collections.abc import Collection

from openfall.router_core.placement.cards_view import LONG_AGO, Card, CardsView
from openfall.router_core.placement.thrashing import count_recent_loads

PRELOADED = "preloaded: "
"""How the reason of such a load begins."""
MIN_EXPECTED_MINUTES = 1.0
"""A model that people will hardly use in the next hour is not loaded for them."""


def choose_preload(view: CardsView, card: Card, resident: Collection[str], now: float) -> tuple[str, str] | None:
    """The model that a card loads now, and why. None: no model, for a job waits, or nothing more fits.

    It displaces nothing. Models with `preload` come first, then the ones that people use at this hour, most used first.
    `resident`: the models that any card has.
    """
    own = view.facts.keys() if card.models is None else card.models
    if any(demand.model in own for demand in view.demands):
        return None
    if count_recent_loads(card.recent_loads, now) > len(own) or len(card.resident) >= card.max_models:
        return None  # something else evicts what is loaded here: another load would not last
    free_gb = card.vram_gb - sum(view.facts[model.model].vram_gb for model in card.resident)
    beside = card.beside if card.resident else 1.0
    candidates = [
        alias
        for alias in sorted(own)
        if alias not in resident
        and alias not in card.kept_out
        and card.refused_until.get(alias, LONG_AGO) <= now
        and beside * view.facts[alias].vram_gb <= free_gb
        and (view.facts[alias].preload or view.facts[alias].expected_minutes >= MIN_EXPECTED_MINUTES)
    ]
    if not candidates:
        return None
    best = max(candidates, key=lambda alias: (view.facts[alias].preload, view.facts[alias].expected_minutes))
    facts = view.facts[best]
    if facts.preload:
        return best, f"{PRELOADED}the configuration says so"
    return best, f"{PRELOADED}people use it at this hour, about {facts.expected_minutes:.0f} of 60 minutes"
