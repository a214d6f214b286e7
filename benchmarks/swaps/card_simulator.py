"""A discrete-event model of graphics cards that load and evict models, and of the calls on them.

A card has a memory, one load at a time, and one unit of compute, which the models with calls in flight share evenly.
Calls of one model run side by side up to its slots without slowing each other: decoding a few sequences is bound by
memory bandwidth. A load takes its usual time, give or take a tenth; an eviction before it takes `UNLOAD_SECONDS` more.
A run is a function of its seed.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

INTERACTIVE, BACKGROUND, BATCH = range(3)
START_WITHIN = (5.0, 30.0, 3600.0)
"""By urgency: the defaults of the configuration."""
UNLOAD_SECONDS = 1.0
"""Ollama waits until the free memory is right again, which takes 0.5 to 1.5 s."""
LOAD_NOISE = 0.1
LONG_AGO = -float("inf")
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class SimModel:
    """A model. `write_rate` and `read_rate` are tokens a second of one call."""

    name: str
    vram_gb: float
    load_seconds: float
    slots: int
    write_rate: float
    read_rate: float
    pinned: bool = False

    def call_seconds(self, tokens_read: float, tokens_written: float) -> float:
        return tokens_read / self.read_rate + tokens_written / self.write_rate


@dataclass(slots=True)
class SimJob:
    """A job. `work_seconds`: of its call, when it has the card alone. `may_leave`: a cloud model may take it."""

    number: int
    model: str
    urgency: int
    accepted_at: float
    work_seconds: float
    deadline: float = NEVER
    may_leave: bool = False
    started_at: float = -1.0
    ended_at: float = -1.0
    put_back: int = 0
    left: bool = False

    @property
    def due_at(self) -> float:
        return self.accepted_at + START_WITHIN[self.urgency]

    @property
    def waited(self) -> float:
        return self.started_at - self.accepted_at if self.started_at >= 0 else NEVER


@dataclass(slots=True)
class SimResident:
    """A model in memory, or on its way there."""

    model: SimModel
    ready_at: float = NEVER
    active: int = 0
    calls_begun: int = 0
    last_used: list[float] = field(default_factory=lambda: [LONG_AGO] * 3)
    protected_until: float = LONG_AGO

    @property
    def ready(self) -> bool:
        return self.ready_at < NEVER


@dataclass(slots=True)
class SimCall:
    """A call in flight. It ends when the virtual time of its card is `ends_at_virtual`."""

    job: SimJob
    began_at: float
    ends_at_virtual: float
    alive: bool = True


@dataclass(slots=True)
class SimCard:
    """A card. `virtual` is the time that each running model has had of its compute."""

    name: str
    vram_gb: float
    resident: dict[str, SimResident] = field(default_factory=dict)
    switching: str = ""
    calls: list[tuple[float, int, SimCall]] = field(default_factory=list)
    live: dict[int, SimCall] = field(default_factory=dict)
    virtual: float = 0.0
    advanced_at: float = 0.0
    running: int = 0
    version: int = 0
    loads: int = 0
    load_seconds: float = 0.0
    busy_seconds: float = 0.0
    recent_loads: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=40))
    served_at: dict[str, float] = field(default_factory=dict)

    def free_gb(self) -> float:
        return self.vram_gb - sum(entry.model.vram_gb for entry in self.resident.values())


@dataclass(frozen=True)
class Trace:
    """Models, cards (name, GB) and jobs."""

    models: Sequence[SimModel]
    cards: Sequence[tuple[str, float]]
    jobs: list[SimJob]


class CardRule(Protocol):
    """Decides what the cards do, on every event."""

    def bind(self, sim: Simulation) -> None:
        """Begin with a simulation."""
        ...

    def arrived(self, job: SimJob) -> None:
        """A job was accepted."""
        ...

    def ended(self, card: SimCard, job: SimJob) -> None:
        """A call has ended."""
        ...

    def loaded(self, card: SimCard, model: str) -> None:
        """A model is ready."""
        ...


class Simulation:
    """One run of jobs on cards by a rule."""

    def __init__(self, trace: Trace, rule: CardRule, seed: int) -> None:
        self.models = {model.name: model for model in trace.models}
        self.cards = [SimCard(*card) for card in trace.cards]
        self.jobs = sorted(trace.jobs, key=lambda job: job.accepted_at)
        self.queues: dict[str, tuple[deque[SimJob], ...]] = {name: (deque(), deque(), deque()) for name in self.models}
        self.now, self.open_jobs = 0.0, len(self.jobs)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._chance = random.Random(seed)
        self.rule = rule
        rule.bind(self)

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        self._number += 1
        heapq.heappush(self._events, (when, self._number, action))

    def run(self, until: float = NEVER) -> Simulation:
        """Run until every job has ended, or until a time."""
        for job in self.jobs:
            self.at(job.accepted_at, lambda job=job: self.rule.arrived(job))  # type: ignore[misc]
        while self._events and self.open_jobs > 0:
            when, _, action = heapq.heappop(self._events)
            if when > until:
                break
            self.now = when
            action()
        for card in self.cards:
            self._advance(card)
        return self

    def start_call(self, card: SimCard, job: SimJob) -> None:
        """Begin the call of a job on a model that is ready, and has a free slot."""
        entry = card.resident[job.model]
        if not entry.ready or entry.active >= entry.model.slots:
            raise AssertionError(f"{job.model} takes no call")
        self._advance(card)
        card.running += entry.active == 0
        entry.active += 1
        entry.calls_begun += 1
        entry.last_used[job.urgency] = card.served_at[job.model] = job.started_at = self.now
        call = SimCall(job, self.now, card.virtual + job.work_seconds)
        self._number += 1
        heapq.heappush(card.calls, (call.ends_at_virtual, self._number, call))
        card.live[job.number] = call
        self._schedule_end(card)

    def put_back(self, card: SimCard, job: SimJob) -> None:
        """Stop a call: its job is the first of its queue again."""
        self._advance(card)
        self._release(card, card.live[job.number])
        job.put_back += 1
        self.queues[job.model][job.urgency].appendleft(job)
        self._schedule_end(card)

    def load(self, card: SimCard, model: str, evict: Iterable[str] = (), protected_seconds: float = 0.0) -> None:
        """Evict models without calls, and load one."""
        if card.switching or model in card.resident:
            raise AssertionError(f"{card.name} cannot load {model}")
        self._advance(card)
        evicted = [self.evict(card, name) for name in evict]
        spec = self.models[model]
        entry = card.resident[model] = SimResident(spec)
        if card.free_gb() < -1e-6:
            raise AssertionError(f"{model} does not fit into {card.name}")
        card.switching = model
        seconds = spec.load_seconds * (1 + LOAD_NOISE * (2 * self._chance.random() - 1)) + UNLOAD_SECONDS * bool(
            evicted
        )
        if protected_seconds:
            entry.protected_until = self.now + seconds + protected_seconds
        card.loads += 1
        card.load_seconds += seconds
        card.recent_loads.append((self.now, seconds))
        self.at(self.now + seconds, lambda: self._ready(card, model))

    def evict(self, card: SimCard, model: str) -> str:
        """Remove a model without calls from memory."""
        if card.resident[model].active:
            raise AssertionError(f"{model} has calls in flight")
        del card.resident[model]
        return model

    def leave(self, job: SimJob, seconds: float = 2.0) -> None:
        """A cloud model takes the job."""
        job.left, job.started_at, job.ended_at = True, self.now, self.now + seconds
        self.open_jobs -= 1

    def _ready(self, card: SimCard, model: str) -> None:
        self._advance(card)
        card.resident[model].ready_at = self.now
        card.switching = ""
        self.rule.loaded(card, model)

    def _advance(self, card: SimCard) -> None:
        passed = self.now - card.advanced_at
        if passed > 0 and card.running:
            card.virtual += passed / card.running
            card.busy_seconds += passed
        card.advanced_at = self.now

    def _release(self, card: SimCard, call: SimCall) -> None:
        entry = card.resident[call.job.model]
        call.alive = False
        del card.live[call.job.number]
        entry.active -= 1
        entry.last_used[call.job.urgency] = self.now
        card.running -= entry.active == 0

    def _schedule_end(self, card: SimCard) -> None:
        card.version += 1
        while card.calls and not card.calls[0][2].alive:
            heapq.heappop(card.calls)
        if card.calls:
            when = self.now + max(0.0, card.calls[0][0] - card.virtual) * card.running
            self.at(when, lambda version=card.version: self._end_calls(card, version))  # type: ignore[misc]

    def _end_calls(self, card: SimCard, version: int) -> None:
        if card.version != version:
            return
        self._advance(card)
        ended = []
        while card.calls and (not card.calls[0][2].alive or card.calls[0][0] <= card.virtual + 1e-9):
            call = heapq.heappop(card.calls)[2]
            if call.alive:
                self._release(card, call)
                call.job.ended_at = self.now
                self.open_jobs -= 1
                ended.append(call.job)
        self._schedule_end(card)
        for job in ended:
            self.rule.ended(card, job)
