"""Decides about the graphics cards of a pool, in the one worker that manages them, and carries the decisions out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from openfall.router_core.deciding.call_signals import breaker_target
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.placement.cards_view import CardPlan, CardsView
from openfall.router_core.placement.plan_cards import plan_cards
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.card_state import CardState, MeasuredModel, Switch
from openfall.router_core.state.cards import CardRecord, CardsSnapshot, CardWrite
from openfall.router_core.state.errors import StoreError, StoreFull
from openfall.router_core.state.wake_up import WakeUp
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.gpu.build_cards_view import CardsContext, too_large
from openfall.workers.gpu.card_contents import CardContents
from openfall.workers.gpu.card_switch import SwitchOutcome, adopt_content, apply_outcome, measured_by, switch_models
from openfall.workers.gpu.learned_use import LearnedUse

log = logging.getLogger("openfall.cards")

DECIDE_INTERVAL_SECONDS = 1.0
"""The manager decides at least once in this time, and on every wake-up."""
MIN_INTERVAL_SECONDS = 0.03
"""Wake-ups that follow each other sooner count as one."""
LISTEN_RETRY_SECONDS = 0.1
STAND_BY_SECONDS = 1.0
"""How often another worker looks whether the cards have a manager."""
ESTIMATE_SECONDS = 1.0
"""How often it is estimated when jobs could start."""
HANG_UP_SECONDS = 0.5
"""After calls were put back their workers hang up within this time: until then an engine could load the model again."""

OnLoadFailed = Callable[[str, Failure, float], Awaitable[None]]
"""Called with the target, the failure and the time (server's clock) of a load that failed."""


@dataclass(frozen=True, slots=True)
class _Round:
    """What one round of decisions goes by. `before`: the state of the card as it was read."""

    snapshot: CardsSnapshot
    view: CardsView
    before: str


@dataclass(slots=True, kw_only=True)
class CardManager:
    """Runs in every worker of a pool with cards; in one of them it decides."""

    context: CardsContext
    contents: CardContents
    wakeup: WakeUp
    on_load_failed: OnLoadFailed
    use: LearnedUse
    _epoch: int = field(default=0, init=False)
    _woken: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _switches: dict[str, asyncio.Task[SwitchOutcome]] = field(default_factory=dict, init=False)
    _switched_at: dict[str, float] = field(default_factory=dict, init=False)
    _put_back_at: dict[str, float] = field(default_factory=dict, init=False)
    _admitted: dict[str, Mapping[str, int]] = field(default_factory=dict, init=False)
    _estimated_at: dict[str, float] = field(default_factory=dict, init=False)

    async def run(self) -> None:
        """Manage the cards until cancelled; then another worker may at once."""
        listener = asyncio.create_task(self._listen(), name="cards-wakeup")
        observer = asyncio.create_task(
            self.contents.observe(lambda: self._epoch > 0, self._switches), name="cards-content"
        )
        try:
            while True:
                self._woken.clear()
                wait = await self._round()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._woken.wait()
                await asyncio.sleep(MIN_INTERVAL_SECONDS)
        finally:
            await cancel_all(listener, observer, *self._switches.values())
            with contextlib.suppress(StoreError):
                if self._epoch:
                    await self.context.store.release()

    async def _round(self) -> float:
        """Decide once. Returns the seconds until the next time."""
        try:
            snapshot = await self.context.store.fetch()
            if snapshot is None:
                await self._stand_by()
                return STAND_BY_SECONDS
            if snapshot.epoch != self._epoch:
                await self._take_over(snapshot)
            return await self._decide(snapshot)
        except StoreError as error:
            log.debug("cannot decide about the cards: %s", error)
            return DECIDE_INTERVAL_SECONDS

    async def _stand_by(self) -> None:
        if self._epoch:
            log.warning("another worker manages the cards now")
            await cancel_all(*self._switches.values())
            self._switches.clear()
        self._epoch = 0

    async def _take_over(self, snapshot: CardsSnapshot) -> None:
        """The engines say what is true, whatever the manager before was about to do."""
        await cancel_all(*self._switches.values())
        self._switches.clear()
        self.contents.by_backend.clear()
        self._admitted.clear()
        await self.contents.ask()
        await self.use.fetch()
        self._epoch = snapshot.epoch
        log.info("this worker manages the cards %s", ", ".join(record.name for record in snapshot.cards))

    async def _decide(self, snapshot: CardsSnapshot) -> float:
        before = [repr(record.state) for record in snapshot.cards]
        for record in snapshot.cards:
            await self._end_switch(record, snapshot)
            await self._adopt(record, snapshot.now)
        await self.use.note(snapshot)
        view = self.context.view(snapshot)
        plans = plan_cards(view, snapshot.now)
        for record, text in zip(snapshot.cards, before, strict=True):
            await self._act(record, plans[record.name], _Round(snapshot, view, text))
        check_at = min(plan.check_at for plan in plans.values())
        return min(DECIDE_INTERVAL_SECONDS, max(0.0, check_at - snapshot.now))

    async def _end_switch(self, record: CardRecord, snapshot: CardsSnapshot) -> None:
        task = self._switches.get(record.name)
        if task is None:
            record.state.switch = None  # of a manager that is gone
        elif task.done():
            del self._switches[record.name]
            self._switched_at[record.name] = time.monotonic()
            await self._finish(record, task.result(), snapshot)

    async def _adopt(self, record: CardRecord, now: float) -> None:
        """Take over what the engines have in memory, and the pins of operators."""
        record.state.keep_true(self.context.backends_on(record.name), self.context.store.models, now)
        for verb, alias in record.orders:
            if verb in ("pin", "unpin"):
                record.state.pinned[alias] = verb == "pin"
        for backend in self.context.backends_on(record.name):
            content = self.contents.by_backend.get(backend)
            if content is None or content.asked_at <= self._switched_at.get(record.name, 0.0):
                continue
            if record.name not in self._switches:
                for alias in adopt_content(record.state, backend, content.content, now):
                    failure = Failure(error_class=ErrorClass.OTHER, detail=record.state.refused[alias].why)
                    with contextlib.suppress(StoreFull):
                        await self.on_load_failed(breaker_target(backend, alias), failure, now)
                self.contents.adopt_memory(record.name, record.state)

    async def _finish(self, record: CardRecord, outcome: SwitchOutcome, snapshot: CardsSnapshot) -> None:
        switch, state = outcome.switch, record.state
        if switch.load:
            with contextlib.suppress(StoreFull):  # the card goes on without these notes, so that its jobs can end
                await self._note_load(state, outcome, snapshot)
        apply_outcome(state, outcome, snapshot.now)
        if switch.load in state.models and self.context.is_unmet(switch.load, snapshot):
            state.models[switch.load].wanted_at = snapshot.now

    async def _note_load(self, state: CardState, outcome: SwitchOutcome, snapshot: CardsSnapshot) -> None:
        switch = outcome.switch
        target = breaker_target(switch.backend, switch.load)
        usable_gb = state.usable_gb(self.context.catalog.backends[switch.backend].vram_gb or 0.0)
        free_gb = usable_gb - sum(model.gb for model in state.models.values())
        before = snapshot.measured.get(target) or MeasuredModel()
        measured = measured_by(outcome, before, free_gb)
        if measured != before:
            await self.context.store.note_measured(target, measured)
        if outcome.failure is not None and not outcome.is_evicted:
            await self.on_load_failed(target, outcome.failure, snapshot.now)

    async def _act(self, record: CardRecord, plan: CardPlan, round_: _Round) -> None:
        state, snapshot = record.state, round_.snapshot
        state.draining, state.reason = plan.draining, plan.reason
        self._estimate(record, round_)
        switch = self._switch_for(record, plan, round_)
        if switch is not None:
            state.switch = switch
            for alias in plan.evict:
                state.models.pop(alias, None)
        orders = self._done_orders(record, plan)
        if repr(state) == round_.before and not orders and self._admitted.get(record.name) == plan.admitted:
            await self._put_back(record.name, plan, snapshot)
            return
        wake = self._opened(record.name, plan, snapshot)
        write = CardWrite(record, plan.admitted, plan.evict, wake, orders)
        outcome = await self.context.store.write(self._epoch, write)
        if outcome != "written":
            self._admitted.pop(record.name, None)
            self._woken.set()
            return
        self._admitted[record.name] = plan.admitted
        await self._put_back(record.name, plan, snapshot)
        if switch is not None:
            self._start(record.name, switch)

    async def _put_back(self, card: str, plan: CardPlan, snapshot: CardsSnapshot) -> None:
        """Put calls back once their model is not admitted any more: else a worker would claim their jobs at once."""
        if plan.put_back:
            calls = [call for call in snapshot.calls if call.token in plan.put_back]
            why = f"{plan.next_model} is wanted by an interactive caller"
            await self.context.store.put_back(self._epoch, calls, why)
            self._put_back_at[card] = time.monotonic()
            asyncio.get_running_loop().call_later(HANG_UP_SECONDS, self._woken.set)

    def _estimate(self, record: CardRecord, round_: _Round) -> None:
        """Write down when jobs could start, once a second and with every other change."""
        now = round_.snapshot.now
        is_due = abs(now - self._estimated_at.get(record.name, 0.0)) >= ESTIMATE_SECONDS
        if is_due or repr(record.state) != round_.before:
            record.state.starts = self.context.starts(record.name, round_.view, now)
            record.state.too_large = too_large(record.name, round_.view)
            self._estimated_at[record.name] = now

    def _switch_for(self, record: CardRecord, plan: CardPlan, round_: _Round) -> Switch | None:
        if plan.load is None and not plan.evict:
            return None
        hung_up_at = self._put_back_at.get(record.name, 0.0) + HANG_UP_SECONDS
        if plan.evict and time.monotonic() < hung_up_at:
            return None
        alias = plan.load or plan.evict[0]
        moves = [f"loads {plan.load}"] if plan.load else []
        moves += [f"unloads {', '.join(plan.evict)}"] if plan.evict else []
        log.info("%s: %s: %s", record.name, ", ".join(moves), plan.reason)
        return Switch(
            plan.load or "", self.context.backend_on(record.name, alias), plan.evict, round_.snapshot.now, plan.reason,
            round_.view.facts[alias].load_seconds, plan.protected_seconds,
        )  # fmt: skip

    def _start(self, card: str, switch: Switch) -> None:
        context = self.context
        models = (*switch.evict, switch.load) if switch.load else switch.evict
        engines = {alias: context.engines[context.backend_on(card, alias)] for alias in models}
        work = switch_models(switch, engines, self._epoch, lambda: self._device_used_gb(card))
        task = asyncio.create_task(work, name=f"switch-{card}")
        task.add_done_callback(lambda _: self._woken.set())
        self._switches[card] = task

    async def _device_used_gb(self, card: str) -> float | None:
        await self.contents.ask_devices()
        return self.contents.used_gb(card)

    def _opened(self, card: str, plan: CardPlan, snapshot: CardsSnapshot) -> list[str]:
        """The queues with waiting jobs that are open now and were not."""
        before, store = self._admitted.get(card, {}), self.context.store
        waiting = {(jobs.model, jobs.urgency) for jobs in snapshot.waiting}
        return [
            queue
            for alias, rank in plan.admitted.items()
            if rank > before.get(alias, -1)
            for queue in store.queues_of(alias, rank)
            if any(queue.endswith(f".{model}.{urgency}") for model, urgency in waiting)
        ]

    def _done_orders(self, record: CardRecord, plan: CardPlan) -> list[str]:
        """Orders that are carried out with this write, or that cannot be."""
        models, refused = record.state.models, record.state.refused
        done = []
        for (verb, alias), moment in record.orders.items():
            loaded = verb == "load" and (alias in models or (alias in refused and refused[alias].since >= moment))
            unloaded = verb == "unload" and alias not in models
            if unloaded and alias not in record.state.kept_out:
                record.state.kept_out.append(alias)
            if loaded or unloaded or verb in ("pin", "unpin"):
                done.append(f"{verb} {alias}")
        return done

    async def _listen(self) -> None:
        while True:
            try:
                if not self._epoch:
                    await asyncio.sleep(LISTEN_RETRY_SECONDS)
                elif await self.wakeup.wait():
                    self._woken.set()
                    await asyncio.sleep(MIN_INTERVAL_SECONDS)
            except StoreError:
                await asyncio.sleep(DECIDE_INTERVAL_SECONDS)
