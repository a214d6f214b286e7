"""Our rule in the simulator: `plan_cards` of the product, asked after every event, and carried out.

Two variants: one knows when people come; of the other interactive jobs may leave for a cloud model."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from benchmarks.swaps.card_simulator import (
    BACKGROUND,
    BATCH,
    INTERACTIVE,
    LOAD_NOISE,
    NEVER,
    START_WITHIN,
    UNLOAD_SECONDS,
    SimCard,
    SimJob,
    Simulation,
)
from openfall.router_core.placement.cards_view import (
    CallInFlight,
    Card,
    CardPlan,
    CardsView,
    Demand,
    ModelFacts,
    ResidentModel,
)
from openfall.router_core.placement.plan_cards import plan_cards
from openfall.router_core.placement.start_estimate import estimate_starts

SHARES = (0.0, 0.1, 0.05)
ASSUMED_CALL_SECONDS = 5.0
MAX_ROUNDS = 50
TIMED_EVERY, TIMED_TIMES = 10, 5
"""Every tenth decision is timed, five times: the least is free of what else the machine does."""
UNMET_SECONDS, UNMET_JOBS = 60.0, 2
"""As the manager of cards counts unmet demand."""


class OurRule:
    """`reserved_slots`: of each model, for interactive jobs."""

    shares = SHARES

    def __init__(self, reserved_slots: int = 0) -> None:
        self.reserved_slots = reserved_slots

    def bind(self, sim: Simulation) -> None:
        self.sim = sim
        self.recent: dict[str, deque[float]] = {name: deque(maxlen=32) for name in sim.models}
        self.wake_at = NEVER
        self.waited_first: list[SimJob] = []
        """Interactive jobs that were the first to wait for a model, while no interactive job waited for another."""
        self.decision_seconds: list[float] = []
        """The CPU time of some decisions."""
        self.decisions = 0

    def arrived(self, job: SimJob) -> None:
        queues = self.sim.queues
        is_absent = not any(job.model in card.resident for card in self.sim.cards)
        if job.urgency == INTERACTIVE and is_absent and not any(waiting[INTERACTIVE] for waiting in queues.values()):
            self.waited_first.append(job)
        queues[job.model][job.urgency].append(job)
        self.decide()

    def ended(self, card: SimCard, job: SimJob) -> None:
        self.recent[job.model].append(job.ended_at - job.started_at)
        self.decide()

    def loaded(self, card: SimCard, model: str) -> None:
        self.decide()

    def facts(self) -> dict[str, ModelFacts]:
        return {
            name: ModelFacts(
                model.vram_gb, model.load_seconds, model.slots, self.call_seconds(name), model.pinned,
                self.keep_warm_seconds(name),
            )
            for name, model in self.sim.models.items()
        }  # fmt: skip

    def call_seconds(self, model: str) -> float:
        recent = self.recent[model]
        return sum(recent) / len(recent) if recent else ASSUMED_CALL_SECONDS

    def keep_warm_seconds(self, model: str) -> float | None:
        return None

    def demands(self, facts: Mapping[str, ModelFacts]) -> list[Demand]:
        return [
            Demand(
                model, urgency, len(queue), queue[0].accepted_at,
                min(queue[0].due_at, queue[0].deadline - facts[model].load_seconds - facts[model].call_seconds),
            )
            for model, queues in self.sim.queues.items()
            for urgency, queue in enumerate(queues)
            if queue
        ]  # fmt: skip

    def view(self) -> CardsView:
        facts = self.facts()
        cards = tuple(self._card(card) for card in self.sim.cards)
        return CardsView(facts, tuple(self.demands(facts)), cards, self.shares)

    def _card(self, card: SimCard) -> Card:
        now, calls = self.sim.now, {}
        for call in card.live.values():
            in_flight = CallInFlight(str(call.job.number), call.job.urgency, now - call.began_at, call.job.put_back > 0)
            calls.setdefault(call.job.model, []).append(in_flight)
        resident = tuple(
            ResidentModel(
                name, entry.ready, entry.ready_at, tuple(entry.last_used), tuple(calls.get(name, ())),
                entry.ready and not entry.calls_begun, entry.protected_until,
            )
            for name, entry in card.resident.items()
        )  # fmt: skip
        return Card(
            card.name, card.vram_gb, resident, bool(card.switching), served_at=card.served_at,
            recent_loads=tuple(card.recent_loads),
        )  # fmt: skip

    def decide(self) -> None:
        """Plan and carry out, until nothing is left to do at this moment."""
        for _ in range(MAX_ROUNDS):
            view = self.view()
            plans = plan_cards(view, self.sim.now)
            self.decisions += 1
            if self.decisions % TIMED_EVERY == 1:
                self.decision_seconds.append(min(self._cpu_seconds(view) for _ in range(TIMED_TIMES)))
            if not any([self._carry_out(card, plans[card.name]) for card in self.sim.cards]):
                break
        check_at = min(plan.check_at for plan in plans.values())
        if self.sim.now < check_at < self.wake_at:
            self.wake_at = check_at + 1e-3
            self.sim.at(self.wake_at, lambda at=self.wake_at: self._wake(at))  # type: ignore[misc]

    def _cpu_seconds(self, view: CardsView) -> float:
        began = time.thread_time()
        plan_cards(view, self.sim.now)
        return time.thread_time() - began

    def _wake(self, at: float) -> None:
        if at == self.wake_at:
            self.wake_at = NEVER
            self.decide()

    def _carry_out(self, card: SimCard, plan: CardPlan) -> bool:
        for number in map(int, plan.put_back):
            self.sim.put_back(card, card.live[number].job)
        if plan.load:
            self.sim.load(card, plan.load, plan.evict, plan.protected_seconds)
        return bool(self._serve(card, plan) or plan.put_back or plan.load)

    def _serve(self, card: SimCard, plan: CardPlan) -> bool:
        served = False
        for urgency in (INTERACTIVE, BACKGROUND, BATCH):
            for name, least_urgent in plan.admitted.items():
                entry = card.resident.get(name)
                if entry is None or not entry.ready or urgency > least_urgent:
                    continue
                queue = self.sim.queues[name][urgency]
                slots = entry.model.slots - (self.reserved_slots if urgency else 0)
                while queue and entry.active < slots:
                    self.sim.start_call(card, queue.popleft())
                    served = True
        return served


class Clairvoyant(OurRule):
    """The same rule, but it knows when the next interactive job for each model comes: it keeps an idle model just when
    it will be wanted before another could be loaded, used and evicted, and loads a model in time. It knows no lengths,
    and is no optimum: a yardstick for what foresight is worth."""

    shares = (0.0, 0.0, 0.0)
    AHEAD_SECONDS = 12.0

    def bind(self, sim: Simulation) -> None:
        super().bind(sim)
        self.coming: dict[str, list[float]] = {}
        for job in sim.jobs:
            if job.urgency == INTERACTIVE:
                self.coming.setdefault(job.model, []).append(job.accepted_at)
        for model, moments in self.coming.items():
            for moment in moments:
                sim.at(max(0.0, moment - self._ahead(model)), self.decide)

    def loaded(self, card: SimCard, model: str) -> None:
        card.resident[model].last_used[INTERACTIVE] = self.sim.now
        super().loaded(card, model)

    def keep_warm_seconds(self, model: str) -> float | None:
        others = [
            self.sim.models[name].load_seconds
            for name, queues in self.sim.queues.items()
            if queues[BATCH] and name != model
        ]
        away = 2 * min(others, default=0.0) + self._ahead(model)
        return 1e9 if self._next(model) - self.sim.now < away else 0.0

    def demands(self, facts: Mapping[str, ModelFacts]) -> list[Demand]:
        demands, now = super().demands(facts), self.sim.now
        waiting = {demand.model for demand in demands if demand.urgency == INTERACTIVE}
        resident = {name for card in self.sim.cards for name in card.resident}
        for model in self.coming:
            if model not in waiting | resident and self._next(model) - now <= self._ahead(model) + 0.01:
                demands.append(Demand(model, INTERACTIVE, 1, now, now))
        return demands

    def _ahead(self, model: str) -> float:
        load_seconds = self.sim.models[model].load_seconds
        return load_seconds * (1 + LOAD_NOISE) + UNLOAD_SECONDS + self.AHEAD_SECONDS

    def _next(self, model: str) -> float:
        moments = self.coming.get(model, [])
        i = bisect_right(moments, self.sim.now)
        return moments[i] if i < len(moments) else NEVER


class CloudBehind(OurRule):
    """An interactive job that cannot start in time leaves for a cloud model, and is noted as unmet demand."""

    def bind(self, sim: Simulation) -> None:
        super().bind(sim)
        self.unmet: dict[str, deque[float]] = {name: deque(maxlen=8) for name in sim.models}

    def arrived(self, job: SimJob) -> None:
        if job.may_leave and job.urgency == INTERACTIVE and self._start_seconds(job) > START_WITHIN[INTERACTIVE]:
            self.sim.leave(job)
            self.unmet[job.model].append(self.sim.now)
            self.decide()
            return
        super().arrived(job)

    def loaded(self, card: SimCard, model: str) -> None:
        if any(self.sim.now - moment <= UNMET_SECONDS for moment in self.unmet[model]):
            card.resident[model].last_used[INTERACTIVE] = self.sim.now  # it was loaded for those who had to leave
        super().loaded(card, model)

    def _start_seconds(self, job: SimJob) -> float:
        """As routing estimates it: the state of the cards, and the queue."""
        starts = estimate_starts(self.view(), self.sim.now, START_WITHIN)
        waiting = len(self.sim.queues[job.model][INTERACTIVE])
        busy = not any(
            entry.ready and entry.active < entry.model.slots
            for card in self.sim.cards
            if (entry := card.resident.get(job.model)) is not None
        )
        ahead = (waiting + busy) * self.call_seconds(job.model) / self.sim.models[job.model].slots
        return starts[job.model][INTERACTIVE].seconds_from(self.sim.now) + (ahead if waiting else 0.0)

    def demands(self, facts: Mapping[str, ModelFacts]) -> list[Demand]:
        demands, now = super().demands(facts), self.sim.now
        for model, moments in self.unmet.items():
            recent = [moment for moment in moments if now - moment <= UNMET_SECONDS]
            if len(recent) < UNMET_JOBS:
                continue
            wished = Demand(model, BACKGROUND, 1, recent[0], recent[0] + START_WITHIN[BACKGROUND])
            known = next((each for each in demands if (each.model, each.urgency) == (model, BACKGROUND)), None)
            if known is None:
                demands.append(wished)
            else:
                demands.remove(known)
                demands.append(
                    replace(
                        known, count=known.count + 1, oldest_at=min(known.oldest_at, wished.oldest_at),
                        due_at=min(known.due_at, wished.due_at),
                    )
                )  # fmt: skip
        return demands
