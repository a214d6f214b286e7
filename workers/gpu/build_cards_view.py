"""Makes the view that the placement depends on from what Redis, the configuration and the measurements say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_index import model_index
from openfall.router_core.deciding.call_signals import breaker_target
from openfall.router_core.placement.cards_view import (
    BACKGROUND,
    LONG_AGO,
    NEVER,
    CallInFlight,
    Card,
    CardsView,
    Demand,
    ModelFacts,
    ResidentModel,
)
from openfall.router_core.placement.start_estimate import estimate_starts
from openfall.router_core.state.card_state import ExpectedStart
from openfall.router_core.state.cards import CallOnCard, CardRecord, CardsSnapshot, CardStore
from openfall.router_core.vocabulary import Urgency
from openfall.workers.gpu.card_engine import CardEngine

ASSUMED_CALL_SECONDS = 5.0
ROUNDING_GB = 0.05
UNMET_SECONDS = 60.0
"""How long a job counts that went to another model because this one was not loaded."""
UNMET_JOBS = 2
"""This number of them counts as one background job."""
RANKS = {urgency: rank for rank, urgency in enumerate(Urgency)}

LatencyOf = Callable[[str], float | None]
"""The mean seconds of a model's recent calls; None: there were none."""


ExpectedUse = Callable[[str, float], float]
"""In how many minutes of the hour after a time people will use a model."""


def too_large(card: str, view: CardsView) -> dict[str, tuple[float, float]]:
    """The models of a card that do not fit into it even alone: the GB that each needs, and those that may be used."""
    on_card = next(each for each in view.cards if each.name == card)
    return {
        alias: (facts.vram_gb, on_card.vram_gb)
        for alias, facts in view.facts.items()
        if facts.vram_gb > on_card.vram_gb + ROUNDING_GB and (on_card.models is None or alias in on_card.models)
    }


@dataclass(frozen=True, slots=True)
class CardsContext:
    """What stays the same while a configuration is in force."""

    catalog: Catalog
    store: CardStore
    engines: Mapping[str, CardEngine]
    """By backend."""
    latency_of: LatencyOf
    expected_use: ExpectedUse

    def view(self, snapshot: CardsSnapshot) -> CardsView:
        """The view of a moment."""
        facts = {alias: self._facts(alias, snapshot) for alias in self.store.models}
        policies = self.catalog.urgency
        return CardsView(
            facts=facts,
            demands=tuple(self._demands(snapshot, facts)),
            cards=tuple(self._card(record, snapshot) for record in snapshot.cards),
            shares=tuple(policies[urgency].min_share for urgency in Urgency),
        )

    def backend_on(self, card: str, alias: str) -> str:
        """The backend of a card that has a model."""
        return next(name for name in self.store.models[alias] if self.store.backends[name] == card)

    def backends_on(self, card: str) -> list[str]:
        """The backends of a card."""
        return [name for name, other in self.store.backends.items() if other == card]

    def starts(self, card: str, view: CardsView, now: float) -> dict[str, tuple[ExpectedStart | None, ...]]:
        """When jobs could start, for the models of a card; rounded, so that a small difference is no change."""
        within = [self.catalog.urgency[urgency].start_within for urgency in Urgency]
        own = next(each.models for each in view.cards if each.name == card)
        return {
            alias: tuple(
                None if start.seconds_from(now) == NEVER else (round(max(0.0, start.at)), round(start.after_seconds, 1))
                for start in starts
            )
            for alias, starts in estimate_starts(view, now, within).items()
            if own is None or alias in own
        }

    def is_unmet(self, alias: str, snapshot: CardsSnapshot) -> bool:
        """Whether jobs recently went to another model because this one was not loaded."""
        return any(snapshot.now - moment <= UNMET_SECONDS for moment in snapshot.unmet.get(alias, ()))

    def _facts(self, alias: str, snapshot: CardsSnapshot) -> ModelFacts:
        spec, backends = self.catalog.models[alias], self.store.models[alias]
        targets = [breaker_target(name, alias) for name in backends]
        measured = [snapshot.measured[target] for target in targets if target in snapshot.measured]
        whole = max(self.catalog.backends[name].vram_gb or 0.0 for name in backends)
        loads = [seconds for model in measured for seconds in model.load_seconds]
        orders = [record.state.pinned[alias] for record in snapshot.cards if alias in record.state.pinned]
        return ModelFacts(
            # An Ollama puts a part of a model that is larger than its card on the CPU: it takes the whole card.
            vram_gb=min(whole, max((model.gb for model in measured), default=0.0) or spec.vram_gb or whole),
            load_seconds=sum(loads) / len(loads) if loads else model_index(self.catalog)[alias].load_time,
            slots=spec.slots or max(self.catalog.backends[name].slots for name in backends),
            call_seconds=self.latency_of(alias) or ASSUMED_CALL_SECONDS,
            pinned=orders[0] if orders else spec.pinned,
            keep_warm_seconds=spec.keep_warm,
            preload=spec.preload,
            expected_minutes=self.expected_use(alias, snapshot.now),
        )

    def _demands(self, snapshot: CardsSnapshot, facts: Mapping[str, ModelFacts]) -> Iterable[Demand]:
        demands: dict[tuple[str, int], Demand] = {}

        def add(demand: Demand) -> None:
            known = demands.get((demand.model, demand.urgency), demand)
            count = demand.count if known is demand else known.count + demand.count
            demands[demand.model, demand.urgency] = Demand(
                demand.model, demand.urgency, count,
                min(known.oldest_at, demand.oldest_at), min(known.due_at, demand.due_at),
            )  # fmt: skip

        for jobs in snapshot.waiting:
            model = facts[jobs.model]
            start_within = self.catalog.urgency[jobs.urgency].start_within
            latest = jobs.deadline - model.load_seconds - model.call_seconds
            due_at = min(jobs.oldest_at + start_within, latest)
            add(Demand(jobs.model, RANKS[jobs.urgency], jobs.count, jobs.oldest_at, due_at))
        for alias, moments in snapshot.unmet.items():
            recent = [moment for moment in moments if snapshot.now - moment <= UNMET_SECONDS]
            if len(recent) >= UNMET_JOBS and alias in facts:
                due_at = min(recent) + self.catalog.urgency[Urgency.BACKGROUND].start_within
                add(Demand(alias, BACKGROUND, 1, min(recent), due_at))
        for record in snapshot.cards:
            for (verb, alias), moment in record.orders.items():
                if verb == "load" and alias in facts:
                    add(Demand(alias, BACKGROUND, 1, moment, moment))
        return demands.values()

    def _card(self, record: CardRecord, snapshot: CardsSnapshot) -> Card:
        state, backends = record.state, self.backends_on(record.name)
        calls = [call for call in snapshot.calls if call.backend in backends]
        resident = [self._resident(record, alias, calls, snapshot.now) for alias in state.models]
        if state.switch is not None and state.switch.load:
            ready_at = state.switch.since + state.switch.seconds
            resident.append(ResidentModel(state.switch.load, ready=False, ready_at=ready_at))
        served: dict[str, float] = {}
        for (alias, _), moment in record.used.items():
            served[alias] = max(moment, served.get(alias, LONG_AGO))
        return Card(
            name=record.name,
            vram_gb=state.usable_gb(self.catalog.backends[backends[0]].vram_gb or 0.0),
            resident=tuple(resident),
            switching=state.switch is not None,
            max_models=sum(self.engines[name].max_models for name in backends),
            served_at=served,
            refused_until={
                alias: refusal.until
                for alias, refusal in state.refused.items()
                if record.orders.get(("load", alias), LONG_AGO) <= refusal.since
            },
            recent_loads=tuple(state.loads),
            models=frozenset(alias for alias, names in self.store.models.items() if set(names) & set(backends)),
            beside=max(self.catalog.backends[name].beside for name in backends),
            kept_out=frozenset(state.kept_out),
        )

    def _resident(self, record: CardRecord, alias: str, calls: Iterable[CallOnCard], now: float) -> ResidentModel:
        model = record.state.models[alias]
        used = tuple(record.used.get((alias, urgency), LONG_AGO) for urgency in Urgency)
        is_unused = max(used) < model.ready_at
        used = (max(used[0], model.wanted_at or LONG_AGO), *used[1:])
        own = tuple(
            CallInFlight(call.token, RANKS[call.urgency], now - call.since, call.was_put_back)
            for call in calls
            if call.model == alias
        )
        return ResidentModel(
            alias,
            ready=True,
            ready_at=model.ready_at,
            last_used=used,
            calls=own,
            unused=not own and is_unused,
            protected_until=model.protected_until,
            unload_ordered=("unload", alias) in record.orders,
        )
