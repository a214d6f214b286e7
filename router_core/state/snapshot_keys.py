"""The keys of a backend in a snapshot: what blocks each, and which calls wait for a limit of the provider.

A pair of limits is for interactive calls, and for others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.rate_limits import Rate, rates_for
from openfall.router_core.routing.fleet_state import Blocked
from openfall.router_core.vocabulary import BlockReason

LimitPair = tuple[Blocked | None, Blocked | None]


@dataclass(frozen=True, slots=True)
class KeyState:
    """One key of a backend, for one model. `blocked`: it is parked, or cools down after a 429. `limited`: it is at a
    limit, for interactive calls, and for others."""

    credential: str
    blocked: Blocked | None
    limited: LimitPair = (None, None)

    @property
    def trouble(self) -> str:
        """What blocks it or lets it wait; empty: nothing."""
        blocked = self.blocked or self.limited[0] or self.limited[1]
        return "" if blocked is None else blocked.detail


def all_keys_blocked(keys: Sequence[KeyState]) -> Blocked | None:
    """The block of a backend whose keys are all blocked; None: one of them may be used."""
    blocks = [key.blocked for key in keys if key.blocked is not None]
    if len(blocks) < len(keys):
        return None
    first = min(blocks, key=lambda blocked: blocked.until)
    details = "; ".join(f"key {number} {blocked.detail}" for number, blocked in enumerate(blocks, start=1))
    return first if len(blocks) == 1 else replace(first, detail=f"none of its {len(keys)} keys may be used: {details}")


def key_limits(row: Sequence[Any], spec: Backend, now: float) -> LimitPair:
    """The limits that let calls with a key wait. `row`: from when an interactive call may start (ms) and the number of
    its limit, the same for another call."""
    if not row:
        return None, None
    rates = rates_for(spec)
    return _limit(row[0], row[1], rates, now), _limit(row[2], row[3], rates, now)


def _limit(at_ms: int, number: int, rates: Sequence[Rate], now: float) -> Blocked | None:
    until = at_ms / 1000
    if until <= now:
        return None
    return Blocked(
        BlockReason.LIMIT, until, f"its {rates[number - 1].text} is reached, free in {_seconds(until - now)}"
    )


def _seconds(seconds: float) -> str:
    return f"{math.ceil(seconds)} s"


def first_free(limits: Iterable[Blocked | None]) -> Blocked | None:
    """The limit that ends first; None: a call may start now, or there is nothing to limit."""
    waits = list(limits)
    return None if None in waits else min(filter(None, waits), key=lambda limit: limit.until, default=None)


def seconds_per_call(backends: Iterable[tuple[Backend, int]], *, others: bool) -> float:
    """How often the limits of requests let a call start at these backends, each with its number of keys that may be
    used. 0: one of them has no such limit. `others`: a call that is not interactive."""
    per_second = 0.0
    for spec, keys in backends:
        rates = [rate for rate in rates_for(spec) if not rate.tokens and (others or not rate.others)]
        if not rates:
            return 0.0
        per_second += keys * 1000 / max(rate.unit_ms for rate in rates)
    return 1 / per_second if per_second else 0.0
