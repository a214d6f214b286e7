"""When a graphics card spends too much of its time on loads of models."""

from __future__ import annotations

from collections.abc import Iterable

WINDOW_SECONDS = 600.0
"""The period over which the loads of a card are added up."""
MAX_LOAD_SHARE = 1 / 3
"""The share of that period above which a card is thrashing."""


def is_thrashing(
    loads: Iterable[tuple[float, float]], now: float, window_seconds: float, max_load_share: float
) -> bool:
    """Whether loads took more than their share of the card's recent time. A load: when it began, and its seconds."""
    begin = now - window_seconds
    spent = sum(max(0.0, at + seconds - max(at, begin)) for at, seconds in loads)
    return spent > max_load_share * window_seconds
