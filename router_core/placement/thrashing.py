"""When a graphics card spends too much of its time on loads of models."""

from __future__ import annotations

from collections.abc import Iterable

WINDOW_SECONDS = 600.0
"""The period over which the loads of a card are added up."""
MAX_LOAD_SHARE = 1 / 3
"""The share of that period above which a card is thrashing."""


Load = tuple[float, float]
"""When a load of a model began, and its seconds."""


def is_thrashing(loads: Iterable[Load], now: float) -> bool:
    """Whether loads took more than their share of the card's recent time."""
    begin = now - WINDOW_SECONDS
    spent = sum(max(0.0, at + seconds - max(at, begin)) for at, seconds in loads)
    return spent > MAX_LOAD_SHARE * WINDOW_SECONDS


def count_recent_loads(loads: Iterable[Load], now: float) -> int:
    """How many loads began within the window."""
    return sum(began_at > now - WINDOW_SECONDS for began_at, _ in loads)
