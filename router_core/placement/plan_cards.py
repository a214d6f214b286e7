"""Which model each card loads, keeps and evicts, and whose jobs may be called there now: docs/placement.md.

The plan follows from the view alone. Any process may compute it any number of times. Only the actions that it leads to
are stored.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from openfall.router_core.placement.cards_view import (
    BATCH,
    INTERACTIVE,
    LONG_AGO,
    NEVER,
    Card,
    CardPlan,
    CardsView,
    Demand,
    ResidentModel,
)
from openfall.router_core.placement.preload import choose_preload
from openfall.router_core.placement.residence import Departure, Residence

MAX_COMPARED = 6
"""All sets of at most this number of models that could leave are compared. Of more, the cheapest leave."""


def _bits(positions: Iterable[int]) -> int:
    return sum(1 << i for i in positions)


_SETS = tuple(
    tuple(
        (_bits(positions), positions)
        for number in range(count + 1)
        for positions in itertools.combinations(range(count), number)
    )
    for count in range(MAX_COMPARED + 1)
)
"""By the number of models: all sets of them as bits and as positions, the smallest first."""
_ROUNDING_GB = 1e-9


def plan_cards(view: CardsView, now: float) -> dict[str, CardPlan]:
    """What each card does now, by its name."""
    return Planner(view, now).plans()


@dataclass(frozen=True, slots=True)
class Room:
    """A place for a demand: which models leave, from when on, and what it costs to have them back. `in_use`: callers
    that are no more urgent go before the demand. `by_share`: more urgent callers give way."""

    card: Card
    leaving: tuple[ResidentModel, ...]
    at: float
    cost: float
    in_use: bool = False
    by_share: bool = False


class _Movable(NamedTuple):
    """The models of a card that may leave, with their sizes and what it costs to have each back; and what is free."""

    models: tuple[ResidentModel, ...]
    sizes: tuple[float, ...]
    costs: tuple[float, ...]
    free_gb: float


@dataclass(slots=True)
class Planner:
    """Plans for one view at one moment. `waiting`: the demands of each model, the most urgent first."""

    view: CardsView
    now: float
    residence: Residence = field(init=False)
    waiting: dict[str, list[Demand]] = field(init=False)
    _ranked: list[Demand] = field(init=False)
    """The demands in their order."""
    _movable_on: dict[str, _Movable] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.waiting = {}
        self._ranked = sorted(self.view.demands, key=lambda demand: (demand.urgency, demand.due_at, demand.model))
        for demand in self._ranked:
            self.waiting.setdefault(demand.model, []).append(demand)
        self.residence = Residence(self.view, self.now, self.waiting)

    def plans(self) -> dict[str, CardPlan]:
        plans = {card.name: plan for card in self.view.cards if (plan := self._ordered(card))}
        free = {card.name: card for card in self.view.cards if not card.switching and card.name not in plans}
        resident = {model.model for card in self.view.cards for model in card.resident}
        check_at, kept = NEVER, dict[str, str]()
        for demand in self._ranked:
            if not free or (demand.model in resident and not self._needs_copy(demand)):
                continue
            room = self.room(list(free.values()), demand)
            if room is None:
                kept |= self._beside_pinned(free.values(), demand)
                continue
            if room.at > self.now and not room.in_use:
                check_at = min(check_at, room.at)
                if room.card.name not in kept:
                    kept[room.card.name] = _why_kept(room, demand)
                continue
            if room.at <= self.now:
                plans[room.card.name] = self._switch(room, demand)
                resident.add(demand.model)
            else:  # it is next here: nothing less urgent starts meanwhile
                plans[room.card.name] = self._wait(room, demand)
            del free[room.card.name]
        plans |= self._preloads(list(free.values()), resident)
        for card in self.view.cards:
            plans.setdefault(
                card.name, CardPlan(self._admitted(card), check_at=check_at, reason=kept.get(card.name, ""))
            )
        return plans

    def _beside_pinned(self, cards: Iterable[Card], demand: Demand) -> dict[str, str]:
        """For each card on which a model does not fit beside the pinned models, the reason."""
        facts, reasons = self.view.facts, {}
        for card in cards:
            pinned = [model.model for model in card.resident if facts[model.model].pinned]
            needed_gb = card.beside * facts[demand.model].vram_gb + sum([facts[name].vram_gb for name in pinned])
            if pinned and needed_gb > card.vram_gb and (card.models is None or demand.model in card.models):
                reasons[card.name] = f"{demand.model} does not fit beside {', '.join(pinned)}, pinned"
        return reasons

    def _preloads(self, cards: Sequence[Card], resident: set[str]) -> dict[str, CardPlan]:
        """The plans of cards that load a model for which no job waits yet."""
        plans = {}
        for card in cards:
            if preload := choose_preload(self.view, card, resident, self.now):
                model, reason = preload
                plans[card.name] = CardPlan(self._admitted(card), model, next_model=model, reason=reason)
                resident.add(model)
        return plans

    def _ordered(self, card: Card) -> CardPlan | None:
        """The plan for a model that an operator wants out; None: there is none."""
        ordered = tuple(model for model in card.resident if model.ready and model.unload_ordered)
        if card.switching or not ordered:
            return None
        names = tuple(model.model for model in ordered)
        others = self._admitted(card, names)
        if any(model.calls for model in ordered):
            return CardPlan(others, draining=names, reason="an operator unloads it")
        return CardPlan(others, evict=names, reason="an operator unloads it")

    def _needs_copy(self, demand: Demand) -> bool:
        """Whether a second card loads the model: only if the jobs that wait would take longer than two loads."""
        facts = self.view.facts[demand.model]
        copies = [model for card in self.view.cards for model in card.resident if model.model == demand.model]
        if not copies or len(copies) >= len(self.view.cards) or not all(model.ready for model in copies):
            return False
        return demand.count * facts.call_seconds / (facts.slots * len(copies)) > 2 * facts.load_seconds

    def room(self, cards: Sequence[Card], demand: Demand) -> Room | None:
        """Where the model can be loaded soonest, at the least cost. None: nowhere."""
        rooms = [room for card in cards for room in self._rooms(card, demand)]
        return min(rooms, key=lambda room: (max(room.at, self.now), room.cost), default=None)

    def _rooms(self, card: Card, demand: Demand) -> Iterator[Room]:
        model = demand.model
        if card.refused_until.get(model, LONG_AGO) > self.now or any(
            [resident.model == model for resident in card.resident]
        ):
            return
        if card.models is not None and model not in card.models:
            return
        movable, needed_gb = self._movable(card), self.view.facts[model].vram_gb - _ROUNDING_GB
        models, sizes, costs, free_gb = movable
        departures = [self.residence.departure(card, resident, demand) for resident in models]
        is_copy = any([twin.model == model for other in self.view.cards for twin in other.resident])
        enough: list[int] = []
        for bits, chosen in _sets(movable):
            staying = len(card.resident) - len(chosen)
            if staying >= card.max_models or (enough and any([fewer & bits == fewer for fewer in enough])):
                continue  # more models than are enough leave no sooner, and cost more
            if free_gb + sum([sizes[i] for i in chosen]) < (card.beside * needed_gb if staying else needed_gb):
                continue
            enough.append(bits)
            leaving = tuple([models[i] for i in chosen])
            if is_copy and any(resident.model in self.waiting or resident.calls for resident in leaving):
                continue  # a copy displaces no model in use
            cost = sum([costs[i] for i in chosen])
            room = self._place(card, leaving, demand, [departures[i] for i in chosen], cost)
            if room is not None:
                yield room

    def _movable(self, card: Card) -> _Movable:
        """Which models may leave a card: the same for every demand."""
        if card.name not in self._movable_on:
            facts = self.view.facts
            models = tuple([model for model in card.resident if model.ready and not facts[model.model].pinned])
            self._movable_on[card.name] = _Movable(
                models,
                tuple([facts[model.model].vram_gb for model in models]),
                tuple([self.residence.eviction_cost(model) for model in models]),
                card.vram_gb - sum([facts[model.model].vram_gb for model in card.resident]),
            )
        return self._movable_on[card.name]

    def _place(
        self,
        card: Card,
        leaving: tuple[ResidentModel, ...],
        demand: Demand,
        departures: Sequence[Departure | None],
        cost: float,
    ) -> Room | None:
        """When all of these have left: those in use by callers no more urgent; then those that more urgent callers
        keep, unless the share of the demand is due before."""
        served = kept = LONG_AGO
        for departure in departures:
            if departure is None:
                kept = NEVER
            elif departure.in_use:
                served = max(served, departure.at)
            else:
                kept = max(kept, departure.at)
        if kept <= max(served, self.now):
            return Room(card, leaving, served, cost, in_use=served > self.now)
        share_at = max(served, self.residence.share_due_at(card, leaving, demand))
        if share_at < kept:
            return Room(card, leaving, share_at, cost, by_share=True)
        return Room(card, leaving, kept, cost) if kept < NEVER else None

    def _admitted(self, card: Card, without: Sequence[str] = ()) -> dict[str, int]:
        return {model.model: BATCH for model in card.resident if model.ready and model.model not in without}

    def _wait(self, room: Room, demand: Demand) -> CardPlan:
        """The demand is next. Of the models that leave for it only jobs as urgent as the demand are called, once they
        have stayed."""
        admitted = self._admitted(room.card)
        for model in room.leaving:
            if model.ready and not model.unused and self.now >= self.residence.stays_until(room.card, model):
                admitted[model.model] = demand.urgency
        names = ", ".join(model.model for model in room.leaving)
        reason = f"{demand.model} is next, after the earlier jobs of {names}"
        return CardPlan(admitted, next_model=demand.model, check_at=room.at, reason=reason)

    def _switch(self, room: Room, demand: Demand) -> CardPlan:
        names = tuple(model.model for model in room.leaving)
        admitted = self._admitted(room.card, names)
        jobs = f"{demand.count} job{'s' * (demand.count != 1)}"
        reason = f"{jobs} wait{'s' * (demand.count == 1)} for {demand.model}"
        reason += ", whose share of the card is due" * room.by_share
        if any(model.calls for model in room.leaving):
            put_back = self._put_back(room, demand)
            return CardPlan(admitted, draining=names, put_back=put_back, next_model=demand.model, reason=reason)
        protected = self.view.facts[demand.model].load_seconds if room.by_share else 0.0
        return CardPlan(
            admitted, demand.model, names, protected_seconds=protected, next_model=demand.model, reason=reason
        )

    def _put_back(self, room: Room, demand: Demand) -> tuple[str, ...]:
        """Batch calls that are younger than a usual call, when an interactive caller waits; each job once."""
        calls = [(call, self.view.facts[model.model]) for model in room.leaving for call in model.calls]
        if demand.urgency != INTERACTIVE or any(call.urgency < BATCH for call, _ in calls):
            return ()
        if self.residence.is_thrashing(room.card):
            return ()
        return tuple(
            call.id for call, facts in calls if not call.was_put_back and call.elapsed_seconds < facts.call_seconds
        )


def _sets(movable: _Movable) -> Iterable[tuple[int, tuple[int, ...]]]:
    """The sets of models that may leave, the smallest first: as bits, and as positions."""
    count = len(movable.models)
    if count <= MAX_COMPARED:
        return _SETS[count]
    cheapest = sorted(range(count), key=lambda i: movable.costs[i])
    return [(_bits(cheapest[:number]), tuple(cheapest[:number])) for number in range(count + 1)]


def _why_kept(room: Room, demand: Demand) -> str:
    """Why the models that would leave for a demand stay for now."""
    names = ", ".join(model.model for model in room.leaving)
    if room.by_share:
        return f"{demand.model} waits for its share of the card: more urgent jobs have {names}"
    return f"{demand.model} waits: {names} {'are' if len(room.leaving) > 1 else 'is'} kept warm for more urgent callers"
