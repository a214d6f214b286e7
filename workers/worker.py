"""The asyncio loop of one worker: claim, spawn, settle. Everything that repeats beside it is in `upkeep`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.claims import Claim, Delivery
from openfall.router_core.state.errors import StoreError, StoreUnreachable
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import MAX_WAIT_SECONDS, WakeUp
from openfall.workers.execution.deltas import DeltaWriter
from openfall.workers.execution.protocol import WorkerParts
from openfall.workers.settler import Settler
from openfall.workers.spool import Spool

log = logging.getLogger("openfall.worker")

MOST_PER_CLAIM = 8
"""Jobs one claim may take. Few, one claim after another, keep Redis, this process and the upstream busy at once; with
64 at a time they took turns, and jobs that started together ended together: a quarter less at 100 ms, measured."""

REDIS_AWAY_WAIT = 0.25


class StopMode(Enum):
    """How a worker ends: `DRAIN` lets calls finish within the grace, `NOW` puts them back at once."""

    NO = 0
    DRAIN = 1
    NOW = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker works. `slots` calls at once; `grace` seconds for calls in flight when it stops; `burst`: stop
    when there is nothing left to do; `give_up` seconds for a job that plain rq asks for again."""

    slots: int
    grace: float = 30.0
    burst: bool = False
    give_up: float = 3600.0


@dataclass(slots=True)
class Running:
    """A delivery in flight. `settles`: a cancelled one puts its job back; not when its lease or its job is gone."""

    delivery: Delivery
    task: asyncio.Task[None] = field(init=False)
    settles: bool = True


class Worker:
    """Claims as many jobs as it has slots for, carries each out as a task, and settles it."""

    def __init__(
        self, deliveries: WorkerQueue, bell: WakeUp, spool: Spool, crew: WorkerParts, terms: WorkerSettings
    ) -> None:
        self._deliveries, self._bell = deliveries, bell
        self._crew, self._terms = crew, terms
        self._desk = Settler(deliveries, spool, crew.troubled)
        self._ends = float("inf")  # monotonic: when calls in flight are put back
        self.running: dict[str, Running] = {}
        self._stop = StopMode.NO
        self._wake = asyncio.Event()
        self._armed = asyncio.Event()
        self._wait_for = MAX_WAIT_SECONDS
        self._left = False

    async def work(self) -> None:
        """Work until stopped. Every claimed job is settled, spooled or put back before this returns."""
        listener = asyncio.create_task(self._listen(), name="bell")
        try:
            await self._claim_all()
            await self._drain()
        finally:
            await cancel_all(listener)

    def retire(self) -> None:
        """Claim nothing more, and let every call end by itself: another worker of this process goes on."""
        if self._stop is StopMode.NO:
            self._stop = StopMode.DRAIN
        self._wake.set()

    def stop(self, how: StopMode) -> None:
        """Stop claiming; see `Stop`. May be called again with a harder one, and of a worker that has retired."""
        self._ends = min(self._ends, time.monotonic() + self._terms.grace)
        if how.value > self._stop.value:
            self._stop = how
        self._wake.set()

    def cancel(self, job_id: str, *, ended: bool) -> None:
        """Stop the call for a job. `ended`: it has its result already; otherwise it is settled as cancelled."""
        for running in self.running.values():
            if running.delivery.id == job_id:
                running.settles = running.settles and not ended
                running.task.cancel("cancelled")

    def lose(self, job_id: str) -> None:
        """A lease is gone, another worker has the job: stop the call and say nothing more."""
        for running in self.running.values():
            if running.delivery.id == job_id and running.settles:
                running.settles = False
                running.task.cancel("lost")
                log.warning("%s: its lease ended; another worker has it", job_id)

    async def _claim_all(self) -> None:
        drained_for = ""
        while self._stop is StopMode.NO:
            self._wake.clear()
            want = min(max(0, self._terms.slots - len(self.running)), MOST_PER_CLAIM)
            if want == 0 and await self._pause(MAX_WAIT_SECONDS):
                continue  # a slot is free; while none is, a claim of nothing still brings the probes that are due
            try:
                claim = await self._deliveries.claim(want, len(self.running), drained_for, self._others(want))
            except StoreError as error:
                await self._redis_away(error)
                continue
            self._spawn(claim)
            drained_for = claim.suspect
            if claim.suspect:
                await self._until_idle()
            elif len(claim.deliveries) < want and not await self._wait(claim):
                return

    def _others(self, want: int) -> int:
        """How many of those that it wants may be other than interactive. A slot that a backend keeps for interactive
        jobs is of no use to them while this worker has none."""
        if not self._deliveries.reserved_slots:
            return want
        kept = min(self._deliveries.reserved_slots, self._terms.slots - 1)
        others = sum(not running.delivery.interactive for running in self.running.values())
        return max(0, min(want, self._terms.slots - kept - others))

    def _spawn(self, claim: Claim) -> None:
        claimed = time.monotonic()
        for delivery in claim.deliveries:
            running = Running(delivery)
            clock = _server_clock(delivery.server_now, claimed)
            running.task = asyncio.create_task(self._carry(running, clock), name=delivery.id)
            self.running[delivery.token] = running
        for probe in claim.probes:
            self._desk.take(self._crew.prober.carry_out(probe), f"probe-{probe.target}")
        for ticket in claim.rq_jobs:
            self._desk.take(self._desk.answer(ticket, self._terms.give_up), f"ticket-{ticket.id}")

    async def _wait(self, claim: Claim) -> bool:
        """Wait for a ring, a due job, or (when jobs wait for a slot) the end of a call. False: nothing left to do."""
        if self._terms.burst and not (claim.deliveries or claim.more_waiting or self.running or claim.next_due_at):
            if not self._desk.at_work:
                return False
            await self._desk.clear()
            return True
        if claim.more_waiting and not self.running:
            self._wait_for = 0.05  # other workers have the slots: nobody rings when they give one back
        else:
            self._wait_for = (
                max(0.0, min(MAX_WAIT_SECONDS, claim.next_due_at - claim.now))
                if claim.next_due_at
                else MAX_WAIT_SECONDS
            )
        if claim.state == "suspended":
            await self._pause(MAX_WAIT_SECONDS)
            return True
        self._left = claim.more_waiting
        self._armed.set()
        await self._wake.wait()
        return True

    async def _listen(self) -> None:
        while True:
            await self._armed.wait()
            try:
                rang = await self._bell.wait(self._wait_for)
                if rang and len(self.running) >= self._terms.slots:
                    await self._bell.forward()
            except StoreError:
                await asyncio.sleep(REDIS_AWAY_WAIT)
            self._armed.clear()
            self._wake.set()

    async def _carry(self, running: Running, clock: Callable[[], float]) -> None:
        """Carry out one delivery. Its slot is free when its call has ended: the settle and the next claim travel
        together, the settle first."""
        delivery = running.delivery
        try:
            ending = await self._ending(running, clock)
            if ending is not None:
                settle = self._deliveries.settlement(delivery, ending)
                self._desk.take(self._desk.deliver(settle), f"settle-{delivery.id}")
                _tell(delivery, ending)
        finally:
            self.running.pop(delivery.token, None)
            if self._left or len(self.running) == self._terms.slots - 1 or not self.running:
                self._wake.set()

    async def _ending(self, running: Running, clock: Callable[[], float]) -> DeliveryOutcome | None:
        """What came of it; None when there is nothing to say of it any more."""
        delivery = running.delivery
        try:
            return await self._carry_out(delivery, clock)
        except asyncio.CancelledError as cancelled:
            if not running.settles:
                return None
            return self._crew.carrier.interrupted(delivery, clock(), by_command="cancelled" in cancelled.args)
        except Exception as error:  # a bug of ours must cost neither the job nor the other calls
            log.exception("%s: openfall itself failed", delivery.id)
            return self._crew.carrier.failed(delivery, f"openfall itself failed: {type(error).__name__}", clock())

    async def _carry_out(self, delivery: Delivery, clock: Callable[[], float]) -> DeliveryOutcome:
        if not delivery.streamed:
            return await self._crew.carrier.carry_out(delivery, clock, None)
        deltas = self._deltas(delivery)
        ending = await self._crew.carrier.carry_out(delivery, clock, deltas.add)
        await deltas.finish()
        return ending

    def _deltas(self, delivery: Delivery) -> DeltaWriter:
        async def emit(pieces: list[bytes]) -> bool:
            try:
                return await self._deliveries.append_events(delivery, pieces)
            except StoreUnreachable:
                return True  # a listener misses a piece; `done` has the whole answer

        return DeltaWriter(emit, lambda: self.lose(delivery.id))

    async def _until_idle(self) -> None:
        while self.running and self._stop is StopMode.NO:
            self._wake.clear()
            await self._wake.wait()

    async def _drain(self) -> None:
        while self.running and self._stop is not StopMode.NOW and (left := self._ends - time.monotonic()) > 0:
            self._wake.clear()
            await self._pause(min(1.0, left))
        for running in list(self.running.values()):
            running.task.cancel("stopping")
        await asyncio.gather(*(running.task for running in self.running.values()), return_exceptions=True)
        await self._desk.clear()

    async def _redis_away(self, error: StoreError) -> None:
        log.warning("%s", error)
        await self._pause(REDIS_AWAY_WAIT if isinstance(error, StoreUnreachable) else MAX_WAIT_SECONDS)

    async def _pause(self, seconds: float) -> bool:
        """Sleep, unless something wakes the worker; whether something did."""
        try:
            async with asyncio.timeout(seconds):
                return await self._wake.wait()
        except TimeoutError:
            return False


def _server_clock(server_now: float, claimed: float) -> Callable[[], float]:
    """The server's clock, carried on by our own monotonic one: no local clock jump reaches a deadline."""
    return lambda: round(server_now + (time.monotonic() - claimed), 3)


def _tell(delivery: Delivery, ending: DeliveryOutcome) -> None:
    attempt = ending.call.attempt if ending.call is not None else None
    if attempt is not None and attempt.error is not None:
        log.info(
            "%s: %s@%s failed: %s (%s); next: %s",
            delivery.id, attempt.model, attempt.backend, attempt.error, attempt.detail, type(ending.next_step).__name__,
        )  # fmt: skip
