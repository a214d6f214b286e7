"""How long a resident model keeps its place against a demand for another model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from openfall.router_core.placement.cards_view import (
    BACKGROUND,
    INTERACTIVE,
    LONG_AGO,
    NEVER,
    Card,
    CardsView,
    Demand,
    ResidentModel,
)
from openfall.router_core.placement.thrashing import MAX_LOAD_SHARE, is_thrashing

KEEP_WARM_SECONDS = 60.0
"""How long an idle model stays for interactive callers; longer if the loads of a swap there and back are."""
IDLE_HALVES_SECONDS = 60.0
"""After this idle time it costs half as much to evict a model: it is less likely to be wanted again soon."""


@dataclass(frozen=True, slots=True)
class Departure:
    """When a model may leave its card. `in_use`: callers that are no more urgent than the demand keep it. Until then no
    job starts on it that is less urgent than the demand."""

    at: float
    in_use: bool = False


@dataclass(frozen=True, slots=True)
class Residence:
    """The rules of one view at one moment. `waiting`: the demands of each model, the most urgent first."""

    view: CardsView
    now: float
    waiting: Mapping[str, Sequence[Demand]]
    thrashing: dict[str, bool] = field(default_factory=dict, init=False)
    """The answers of `is_thrashing` so far, by card."""
    late: dict[int, int] = field(default_factory=dict, init=False)
    """The answers of `_late` so far, by urgency."""

    def departure(self, card: Card, model: ResidentModel, demand: Demand) -> Departure | None:
        """When a model may leave for a demand. None: more urgent callers wait for it."""
        waiting = self.waiting.get(model.model, ())
        users = [entry.urgency for entry in waiting[:1]] + [call.urgency for call in model.calls]
        if not users:
            return Departure(self._warm_until(card, model, demand))
        if waiting and model.unused:
            return Departure(NEVER, in_use=True)  # its first call is about to start
        if waiting and waiting[0].urgency < demand.urgency:
            return None
        if min(users) < demand.urgency:
            return Departure(self._warm_until(card, model, demand))
        return Departure(self._served_until(card, model, demand, min(users)), in_use=True)

    def _served_until(self, card: Card, model: ResidentModel, demand: Demand, most_urgent: int) -> float:
        """The moment until which its callers, none more urgent than the demand, keep a model."""
        waiting = self.waiting.get(model.model, ())
        stays = self.stays_until(card, model) if waiting else LONG_AGO
        if most_urgent > demand.urgency:
            return max(stays, self._warm_until(card, model, demand))
        gate = max(model.ready_at, demand.due_at)
        if waiting and waiting[0].urgency == demand.urgency and waiting[0].oldest_at <= gate:
            return NEVER  # callers that waited before it was ready, or before the demand was due, are served
        return max(stays, gate + self._swap_seconds(model, demand))

    def stays_until(self, card: Card, model: ResidentModel) -> float:
        """The moment until which a model with waiting callers keeps its place against every other demand."""
        if not self.is_thrashing(card):
            return model.protected_until
        served = (1 / MAX_LOAD_SHARE - 1) * self.view.facts[model.model].load_seconds
        return max(model.protected_until, model.ready_at + served)

    def is_thrashing(self, card: Card) -> bool:
        """Whether loads took more than their share of the card's recent time."""
        if card.name not in self.thrashing:
            self.thrashing[card.name] = is_thrashing(card.recent_loads, self.now)
        return self.thrashing[card.name]

    def eviction_cost(self, model: ResidentModel) -> float:
        """The cost of having a model back, in seconds: its load, and a call if it has calls in flight. The load of an
        idle model counts less, the longer it is idle."""
        facts = self.view.facts[model.model]
        if model.model in self.waiting or model.calls:
            return facts.load_seconds + (facts.call_seconds if model.calls else 0.0)
        return facts.load_seconds / (1 + max(0.0, self.now - max(model.last_used)) / IDLE_HALVES_SECONDS)

    def share_due_at(self, card: Card, leaving: Sequence[ResidentModel], demand: Demand) -> float:
        """When the share of the card's time that a demand has saved, while more urgent callers were served, pays for
        the swap there and back."""
        share = self.view.shares[demand.urgency]
        if not share or not leaving or any(model.protected_until > self.now for model in leaving):
            return NEVER
        load = self.view.facts[demand.model].load_seconds
        cost = 2 * load + sum(self.view.facts[model.model].load_seconds for model in leaving)
        late = self._late(demand.urgency)
        return max(demand.due_at, card.served_at.get(demand.model, 0.0)) + max(1, late) * cost / share

    def _late(self, urgency: int) -> int:
        """How many demands of an urgency are due."""
        if urgency not in self.late:
            self.late[urgency] = sum(
                [other.urgency == urgency and other.due_at <= self.now for other in self.view.demands]
            )
        return self.late[urgency]

    def _swap_seconds(self, model: ResidentModel, demand: Demand) -> float:
        """The seconds of two loads: of the demanded model, and of this one when it returns."""
        return self.view.facts[model.model].load_seconds + self.view.facts[demand.model].load_seconds

    def _warm_until(self, card: Card, model: ResidentModel, demand: Demand) -> float:
        """The moment until which an idle model stays for callers that are more urgent than the demand. On a card that
        is thrashing it does not stay when a background job is late: each idle second delays every job there."""
        configured = self.view.facts[model.model].keep_warm_seconds
        is_late = demand.urgency == BACKGROUND and demand.due_at <= self.now
        if is_late and configured is None and not model.calls and self.is_thrashing(card):
            return LONG_AGO
        in_flight = {call.urgency for call in model.calls}
        until = LONG_AGO
        for urgency in range(demand.urgency):
            used_at = self.now if urgency in in_flight else model.last_used[urgency]
            if configured is not None:
                until = max(until, used_at + configured)
            elif urgency == INTERACTIVE:
                until = max(until, used_at + max(KEEP_WARM_SECONDS, self._swap_seconds(model, demand)))
            else:
                until = max(until, used_at)
        return until
