"""Which profiles leave so that another one fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Occupant(Protocol):
    """A profile in memory. `gb` None: it takes the whole card."""

    name: str
    gb: float | None
    calls: int
    used_at: float


def leaving_for(
    gb: float | None, occupants: Sequence[Occupant], total_gb: float | None, max_models: int | None
) -> tuple[str, ...]:
    """The profiles that leave for one of this size: idle ones first, the least recently used first.

    Without `total_gb` nothing is known of the memory: then one profile runs at a time, or `max_models`.
    """
    most = max_models or (1 if total_gb is None else len(occupants) + 1)
    staying = sorted(occupants, key=lambda each: (each.calls == 0, -each.used_at))
    leaving: list[str] = []
    while staying and (len(staying) >= most or not _fits(gb, staying, total_gb)):
        leaving.append(staying.pop().name)
    return tuple(leaving)


def _fits(gb: float | None, staying: Sequence[Occupant], total_gb: float | None) -> bool:
    if total_gb is None:
        return True
    return sum(total_gb if each is None else each for each in (gb, *(other.gb for other in staying))) <= total_gb
