"""The breakers: those that are not simply closed as cards with cause and countdown, the rest as a list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openfall.producers.breaker_names import display_name, model_at_backend
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.router_core.deciding.call_signals import breaker_target
from openfall.router_core.state.breakers import BreakerStatus
from openfall.router_core.vocabulary import BreakerState

MAX_CARDS = 24


@dataclass(frozen=True, slots=True)
class BreakerCard:
    """A breaker as its card shows it. `is_away`: it takes no calls."""

    name: str
    breaker: BreakerStatus

    @property
    def title(self) -> str:
        return model_at_backend(self.name)

    @property
    def state(self) -> str:
        return self.breaker.state.replace("_", " ")

    @property
    def is_away(self) -> bool:
        return self.breaker.state is not BreakerState.CLOSED

    @property
    def can_be_forced(self) -> bool:
        """The cooldown of one of several keys is shown as a breaker, and has no override."""
        return "#" not in self.breaker.target

    @property
    def css_class(self) -> str:
        if self.breaker.state is BreakerState.OPEN:
            return "bad"
        return "warn" if self.is_away or self.breaker.cooling_until or self.breaker.slow_starting else "good"


def context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    catalog = snapshot.catalog
    shown = [
        BreakerCard(display_name(catalog, row.target), row)
        for row in snapshot.breakers
        if _is_notable(row, snapshot.now)
    ]
    shown.sort(key=lambda card: (not card.is_away, card.breaker.cooling_until is None, card.name))
    targets = {row.target for row in snapshot.breakers if _is_notable(row, snapshot.now)}
    every = sorted({breaker_target(at, alias) for alias, spec in catalog.models.items() for at in spec.backends})
    return {
        "cards": shown[:MAX_CARDS],
        "more": max(0, len(shown) - MAX_CARDS),
        "closed": [(target, model_at_backend(target)) for target in every if target not in targets],
    }


def _is_notable(row: BreakerStatus, now: float) -> bool:
    return (
        row.state is not BreakerState.CLOSED
        or row.forced is not None
        or row.slow_starting
        or row.consecutive_failures > 0
        or (row.cooling_until or 0) > now
    )
