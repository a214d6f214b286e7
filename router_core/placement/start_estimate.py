"""When a job for a model could start on the cards: for routing, which sends jobs that cannot wait elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from openfall.router_core.placement.cards_view import (
    BATCH,
    INTERACTIVE,
    LONG_AGO,
    NEVER,
    CallInFlight,
    Card,
    CardsView,
    Demand,
)
from openfall.router_core.placement.plan_cards import Planner, Room


@dataclass(frozen=True, slots=True)
class Start:
    """When the first call of a model could start: not before `at`, and `after_seconds` from then or from now."""

    at: float
    after_seconds: float

    def seconds_from(self, now: float) -> float:
        """The seconds from a moment on. `NEVER`: no card can load it."""
        return max(0.0, self.at - now) + self.after_seconds


AT_ONCE, NOWHERE = Start(LONG_AGO, 0.0), Start(NEVER, 0.0)


def estimate_starts(view: CardsView, now: float, start_within: Sequence[float]) -> dict[str, tuple[Start, ...]]:
    """For each model: by urgency, when a job that is accepted now could start. `start_within`: seconds, by urgency.

    Waiting jobs of the model itself are left out: routing knows its queues.
    """
    estimate = _Estimate(view, now)
    return {
        model: tuple(
            estimate.start(Demand(model, urgency, 1, now, now + seconds))
            for urgency, seconds in enumerate(start_within)
        )
        for model in view.facts
    }


class _Estimate:
    def __init__(self, view: CardsView, now: float) -> None:
        self._view, self._now = view, now
        self._planner = Planner(view, now)
        self._plans = self._planner.plans()

    def start(self, demand: Demand) -> Start:
        """The soonest over all cards."""
        return min(
            (self._on_card(card, demand) for card in self._view.cards),
            key=lambda start: start.seconds_from(self._now),
            default=NOWHERE,
        )

    def _on_card(self, card: Card, demand: Demand) -> Start:
        resident = next((model for model in card.resident if model.model == demand.model), None)
        switched_at = max((model.ready_at for model in card.resident if not model.ready), default=LONG_AGO)
        if resident is not None and not resident.ready:
            return Start(resident.ready_at, 0.0)
        if resident is not None:
            if self._plans[card.name].admitted.get(demand.model, -1) >= demand.urgency:
                return AT_ONCE
            loads = sum(
                self._load_seconds(model) for model in (self._plans[card.name].next_model, demand.model) if model
            )
            return Start(switched_at, loads + self._view.facts[demand.model].call_seconds)
        room = self._planner.room([card], demand)
        if room is None:
            refused_until = card.refused_until.get(demand.model, LONG_AGO)
            return Start(refused_until, self._load_seconds(demand.model)) if refused_until > self._now else NOWHERE
        at = self._served_at(room, demand) if room.at == NEVER else room.at
        before = sum(map(self._turn_seconds, self._before(card, demand)))
        seconds = self._rest_seconds(room, demand) + before + self._load_seconds(demand.model)
        return Start(max(at, switched_at), seconds)

    def _served_at(self, room: Room, demand: Demand) -> float:
        """When the jobs have started that the leaving models serve first."""
        seconds = 0.0
        for model in room.leaving:
            facts = self._view.facts[model.model]
            jobs = sum(each.count for each in self._waiting(model.model) if each.urgency <= demand.urgency)
            seconds += jobs * facts.call_seconds / facts.slots
        return self._now + seconds

    def _rest_seconds(self, room: Room, demand: Demand) -> float:
        """Until the calls of the leaving models have ended, but for those that are put back."""
        rests = [
            self._view.facts[model.model].call_seconds - call.elapsed_seconds
            for model in room.leaving
            for call in model.calls
            if not _is_put_back(call, demand, self._view.facts[model.model].call_seconds)
        ]
        return max([0.0, *rests])

    def _before(self, card: Card, demand: Demand) -> Iterable[str]:
        """The models that are loaded before it."""
        resident = {model.model for model in card.resident}
        mine = (demand.urgency, demand.due_at)
        return {
            each.model
            for each in self._view.demands
            if each.model not in resident | {demand.model} and (each.urgency, each.due_at) < mine
            if card.models is None or each.model in card.models
        }

    def _turn_seconds(self, model: str) -> float:
        return self._load_seconds(model) + self._view.facts[model].call_seconds

    def _load_seconds(self, model: str) -> float:
        return self._view.facts[model].load_seconds

    def _waiting(self, model: str) -> Sequence[Demand]:
        return self._planner.waiting.get(model, ())


def _is_put_back(call: CallInFlight, demand: Demand, call_seconds: float) -> bool:
    young = call.urgency == BATCH and not call.was_put_back and call.elapsed_seconds < call_seconds
    return young and demand.urgency == INTERACTIVE
