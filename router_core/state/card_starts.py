"""When jobs could start on the cards of the fleet, by what their managers estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.card_state import read_card_state
from openfall.router_core.state.decoding import read_text


def read_starts(catalog: Catalog, rows: Sequence[Sequence[Any]], now: float) -> Mapping[str, Sequence[float]]:
    """By model and urgency the seconds until a job could start. `rows`: card, state (JSON) of those that have a
    manager. A model with a backend that is on no such card is left out."""
    states = {read_text(card): read_card_state(state) for card, state in rows}
    starts = {}
    for alias, spec in catalog.models.items():
        known = [
            states[card].starts_in(alias, now) if (card := catalog.card_of(name)) in states and card else None
            for name in spec.backends
        ]
        if states and all(each is not None for each in known):
            starts[alias] = [min(column) for column in zip(*filter(None, known), strict=True)]
    return starts
