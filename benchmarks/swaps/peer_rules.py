"""The rules of llama-swap and Ollama in the simulator, decision by decision, each as of August 2026.

Jobs that they refuse (503) ask again. llama-swap's matrix of models that may run together is what fits; of the sets to
evict the smallest goes, ties by name.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterator

from benchmarks.swaps.card_simulator import SimCard, SimJob, Simulation

OLLAMA_QUEUE, OLLAMA_MODELS_A_CARD, OLLAMA_IDLE_SECONDS = 512, 3, 300.0
OLLAMA_FREE_SHARE = 0.8
ASK_AGAIN_SECONDS = (2.0, 5.0, 10.0)
"""By urgency: when a client whose request was refused asks again."""
MEMORY_SETTLES_SECONDS = 1.0


class _Engine:
    """The engines behind a rule: they take what is granted, in order, up to the slots of a model."""

    def bind(self, sim: Simulation) -> None:
        self.sim = sim
        self.granted: dict[str, deque[SimJob]] = {name: deque() for name in sim.models}
        self.in_flight: Counter[str] = Counter()

    def grant(self, card: SimCard, job: SimJob) -> None:
        self.in_flight[job.model] += 1
        self.granted[job.model].append(job)
        self.feed(card, job.model)

    def feed(self, card: SimCard, model: str) -> None:
        entry, granted = card.resident[model], self.granted[model]
        while granted and entry.active < entry.model.slots:
            self.sim.start_call(card, granted.popleft())


class LlamaSwapRule(_Engine):
    """llama-swap (internal/router/scheduler/fifo.go): a request for a ready model is served at once, also past those
    that wait; a request joins the swap to its model; else it begins a swap, unless the swap would evict a model with
    requests or collide with another. Waiting requests are tried again, in order, when a swap ends or a model is idle.
    """

    name = "llama-swap"

    def bind(self, sim: Simulation) -> None:
        super().bind(sim)
        self.parked: list[SimJob] = []
        self.swaps: dict[str, tuple[list[str], list[SimJob]]] = {}
        """By the model that is loaded: what it evicts, and the requests that wait for it."""

    def arrived(self, job: SimJob) -> None:
        if not self._try(job):
            self.parked.append(job)

    def ended(self, card: SimCard, job: SimJob) -> None:
        self.in_flight[job.model] -= 1
        self.feed(card, job.model)
        if not self.in_flight[job.model]:
            self._try_parked()

    def loaded(self, card: SimCard, model: str) -> None:
        for job in self.swaps.pop(model)[1]:
            self.grant(card, job)
        self._try_parked()

    def _try(self, job: SimJob) -> bool:
        """Whether the request is served, joins a swap, or begins one."""
        model = job.model
        if model in self.swaps:
            self.swaps[model][1].append(job)
            return True
        card = self._home(model)
        entry, evict = card.resident.get(model), self._victims(card, model)
        collides = any(
            other in evict or model in victims or set(evict) & set(victims)
            for other, (victims, _) in self.swaps.items()
        )
        if entry is not None and entry.ready and not collides:
            self.grant(card, job)
            return True
        if collides or card.switching or any(self.in_flight[victim] for victim in evict):
            return False
        self.swaps[model] = (evict, [job])
        self.sim.load(card, model, evict)
        return True

    def _home(self, model: str) -> SimCard:
        """The smallest card that holds it, as a static configuration would say."""
        needed_gb = self.sim.models[model].vram_gb
        return min((card for card in self.sim.cards if card.vram_gb >= needed_gb), key=lambda card: card.vram_gb)

    def _victims(self, card: SimCard, model: str) -> list[str]:
        if model in card.resident:
            return []
        needed_gb, names = self.sim.models[model].vram_gb, sorted(card.resident)
        for number in range(len(names) + 1):
            for some in itertools.combinations(names, number):
                if card.free_gb() + sum(card.resident[name].model.vram_gb for name in some) >= needed_gb - 1e-9:
                    return list(some)
        return names

    def _try_parked(self) -> None:
        parked, self.parked = self.parked, []
        still, stuck = [], set()
        for job in parked:  # what is stuck for one request is stuck for the next of its model
            if job.model in stuck or not self._try(job):
                stuck.add(job.model)
                still.append(job)
        self.parked = [*still, *self.parked]


class OllamaRule(_Engine):
    """Ollama (server/sched.go): a request for a loaded model goes to its runner, also while that runner is to be
    evicted. All others wait in one queue; one of them at a time is considered, and blocks the others. A model is loaded
    if 80 % of the free memory hold it; else the first idle model by name is evicted; if none is idle, the first by name
    is waited for. A model that is idle for 5 minutes is unloaded."""

    name = "Ollama"

    def bind(self, sim: Simulation) -> None:
        super().bind(sim)
        self.pending: deque[SimJob] = deque()
        self.considered: SimJob | None = None
        self.victim: tuple[SimCard, str] | None = None
        self.is_loading = self.settles = False

    def arrived(self, job: SimJob) -> None:
        card = self._card_of(job.model)
        if card is not None and card.resident[job.model].ready:
            self.grant(card, job)
        elif len(self.pending) >= OLLAMA_QUEUE:
            self.sim.at(self.sim.now + ASK_AGAIN_SECONDS[job.urgency], lambda: self.arrived(job))
        else:
            self.pending.append(job)
            self._consider()

    def ended(self, card: SimCard, job: SimJob) -> None:
        self.in_flight[job.model] -= 1
        self.feed(card, job.model)
        if self.in_flight[job.model]:
            return
        if self.victim == (card, job.model):
            self._evict(card, job.model)
        else:
            idle_since, model = self.sim.now, job.model
            self.sim.at(idle_since + OLLAMA_IDLE_SECONDS, lambda: self._unload_idle(card, model, idle_since))

    def loaded(self, card: SimCard, model: str) -> None:
        job, self.considered, self.is_loading = self.considered, None, False
        if job is not None:
            self.grant(card, job)
        self._consider()

    def _card_of(self, model: str) -> SimCard | None:
        return next((card for card in self.sim.cards if model in card.resident), None)

    def _consider(self) -> None:
        while not (self.is_loading or self.victim or self.settles):
            if self.considered is None:
                if not self.pending:
                    return
                self.considered = self.pending.popleft()
            self._decide(self.considered)

    def _decide(self, job: SimJob) -> None:
        card = self._card_of(job.model)
        if card is not None:
            self.considered = None
            self.grant(card, job)
            return
        needed_gb = self.sim.models[job.model].vram_gb
        cards = [card for card in self.sim.cards if card.vram_gb >= needed_gb]
        room = [card for card in cards if not card.resident or OLLAMA_FREE_SHARE * card.free_gb() >= needed_gb]
        number = sum(len(card.resident) for card in self.sim.cards)
        if room and number < OLLAMA_MODELS_A_CARD * len(self.sim.cards):
            self.is_loading = True
            self.sim.load(max(room, key=SimCard.free_gb), job.model)
            return
        victims = sorted(
            self._victims(cards if any(card.resident for card in cards) else self.sim.cards), key=lambda pair: pair[1]
        )
        idle = [pair for pair in victims if not self.in_flight[pair[1]]]
        self.victim = (idle or victims)[0]
        if idle:
            self._evict(*self.victim)

    def _victims(self, cards: list[SimCard]) -> Iterator[tuple[SimCard, str]]:
        return ((card, name) for card in cards for name in card.resident)

    def _evict(self, card: SimCard, model: str) -> None:
        self.sim.evict(card, model)
        self.victim, self.settles = None, True
        self.sim.at(self.sim.now + MEMORY_SETTLES_SECONDS, self._settled)

    def _settled(self) -> None:
        self.settles = False
        self._consider()

    def _unload_idle(self, card: SimCard, model: str, idle_since: float) -> None:
        entry = card.resident.get(model)
        if entry is None or not entry.ready or self.in_flight[model] or max(entry.last_used) > idle_since:
            return
        if self.victim is None:
            self.sim.evict(card, model)
