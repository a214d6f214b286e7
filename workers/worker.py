"""The loop of one worker: claim, start each delivery, wait for the next. `maintenance` runs the periodic tasks."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from enum import Enum

from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.claims import Claim
from openfall.router_core.state.errors import StoreError, StoreUnreachable
from openfall.router_core.state.wake_up import MAX_WAIT_SECONDS, WakeUp
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.workers.delivery_runner import DeliveryRunner
from openfall.workers.execution.executor import Executor
from openfall.workers.maintenance.prober import Prober
from openfall.workers.repeated_warning import RepeatedWarning
from openfall.workers.settler import Settler
from openfall.workers.slots_in_shortage import Slots

log = logging.getLogger("openfall.worker")

MAX_JOBS_PER_CLAIM = 8
"""Several small claims keep Redis, this process and the upstream busy at the same time. With 64 jobs per claim they
took turns, and jobs that started together ended together: a quarter less throughput at 100 ms per call, measured."""

REDIS_RETRY_SECONDS = 0.25

NO_SLOT_RETRY_SECONDS = 0.05
"""How soon an idle worker claims again when other workers hold every slot: a freed slot sends no wake-up. Each further
wait is twice as long, up to `MAX_WAIT_SECONDS`: the worker that frees a slot claims by itself."""


class StopMode(Enum):
    """How a worker stops. `DRAIN` lets calls finish within the grace period, `NOW` puts their jobs back at once."""

    NO = 0
    DRAIN = 1
    NOW = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """`slots`: concurrent calls. `grace_seconds`: for calls in flight when the worker stops. `burst`: stop when no job
    is left."""

    slots: int
    grace_seconds: float = 30.0
    burst: bool = False


@dataclass(slots=True, kw_only=True)
class Worker:
    """Claims as many jobs as it has slots for, and runs each as a task."""

    queue: WorkerQueue
    wakeup: WakeUp
    settler: Settler
    executor: Executor
    prober: Prober
    settings: WorkerSettings
    runner: DeliveryRunner = field(init=False)
    slots: Slots = field(init=False)
    turned_at: float = field(default_factory=time.monotonic, init=False)
    """When its loop turned last (monotonic). It turns at least every `MAX_WAIT_SECONDS` while Redis answers."""
    _stop: StopMode = field(default=StopMode.NO, init=False)
    _quiet: bool = field(default=False, init=False)
    _drain_ends: float = field(default=float("inf"), init=False)  # monotonic: when calls in flight are put back
    _woken: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _listening: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _wait_seconds: float = field(default=MAX_WAIT_SECONDS, init=False)
    _more_waiting: bool = field(default=False, init=False)
    _no_slot_seconds: float = field(default=NO_SLOT_RETRY_SECONDS, init=False)

    def __post_init__(self) -> None:
        self.slots = Slots(self.settings.slots)
        self.runner = DeliveryRunner(
            queue=self.queue, settler=self.settler, executor=self.executor, slots=self.slots,
            on_finished=self._on_finished,
        )  # fmt: skip

    async def work(self) -> None:
        """Work until stopped. Every claimed job is settled, spooled or put back before this returns."""
        listener = asyncio.create_task(self._listen(), name="wakeup")
        try:
            await self._claim_until_stopped()
            await self._finish()
        finally:
            await cancel_all(listener)

    def drain(self) -> None:
        """Stop claiming and let every call end by itself: another worker of this process continues."""
        if self._stop is StopMode.NO:
            self._stop = StopMode.DRAIN
        self._woken.set()

    def stop(self, mode: StopMode) -> None:
        """Stop claiming. It may be called again with a stricter mode, and on a worker that drains."""
        self._drain_ends = min(self._drain_ends, time.monotonic() + self.settings.grace_seconds)
        if mode.value > self._stop.value:
            self._stop = mode
        self._woken.set()

    def keep_quiet(self, quiet: bool) -> None:
        """Claim no jobs, or claim them again. Calls in flight go on."""
        self._quiet = quiet
        self._woken.set()

    async def _claim_until_stopped(self) -> None:
        drained_for, failure = "", RepeatedWarning(log, "cannot claim")
        while self._stop is StopMode.NO:
            self._turn()
            if self._quiet:
                await self._pause(MAX_WAIT_SECONDS)
                continue
            want = min(self.slots.free(len(self.runner)), MAX_JOBS_PER_CLAIM)
            if want == 0 and await self._pause(MAX_WAIT_SECONDS):
                continue  # a slot is free; while none is, a claim of no job still brings the probes that are due
            try:
                claim = await self.queue.claim(want, len(self.runner), drained_for, self._count_unreserved(want))
            except StoreError as error:
                failure.warn(error)
                await self._pause(REDIS_RETRY_SECONDS if isinstance(error, StoreUnreachable) else MAX_WAIT_SECONDS)
                continue
            failure.end()
            self._start(claim)
            drained_for = claim.suspect
            if claim.suspect:
                await self._wait_until_idle()
            elif len(claim.deliveries) < want and not await self._wait_for_work(claim):
                return

    def _count_unreserved(self, want: int) -> int:
        """How many of the wanted jobs may be other than interactive. A backend's slot that is reserved for interactive
        jobs is useless while this worker has no free slot for one."""
        if not self.queue.reserved_slots:
            return want
        slots = self.slots.count
        reserved = min(self.queue.reserved_slots, slots - 1)
        others = sum(not delivery.interactive for delivery in self.runner.deliveries)
        return max(0, min(want, slots - reserved - others))

    def _start(self, claim: Claim) -> None:
        claimed_at = time.monotonic()
        if claim.deliveries or not claim.more_waiting:
            self._no_slot_seconds = NO_SLOT_RETRY_SECONDS
        for delivery in claim.deliveries:
            self.runner.start(delivery, claimed_at)
        for probe in claim.probes:
            self.settler.submit(self.prober.probe(probe), f"probe-{probe.target}")
        for rq_job in claim.rq_jobs:
            self.settler.submit(self.settler.adopt(rq_job), f"rq-job-{rq_job.id}")

    async def _wait_for_work(self, claim: Claim) -> bool:
        """Wait for a wake-up, a due job, or (if jobs wait for a slot) the end of a call. False: a burst is done."""
        if self.settings.burst and not (
            claim.deliveries or claim.more_waiting or len(self.runner) or claim.next_due_at
        ):
            if not self.settler.pending:
                return False
            await self.settler.flush()
            return True
        if claim.more_waiting and not len(self.runner):
            self._wait_seconds = self._no_slot_seconds
            self._no_slot_seconds = min(MAX_WAIT_SECONDS, 2 * self._no_slot_seconds)
        elif claim.next_due_at:
            self._wait_seconds = max(0.0, min(MAX_WAIT_SECONDS, claim.next_due_at - claim.now))
        else:
            self._wait_seconds = MAX_WAIT_SECONDS
        if claim.state == "suspended":
            await self._pause(MAX_WAIT_SECONDS)
            return True
        self._more_waiting = claim.more_waiting
        self._listening.set()
        await self._woken.wait()
        return True

    async def _listen(self) -> None:
        """Wake the claim loop when a queue of this worker has something new, or the wait is over."""
        while True:
            await self._listening.wait()
            try:
                woken = await self.wakeup.wait(self._wait_seconds)
                if woken and not self.slots.free(len(self.runner)):
                    await self.wakeup.forward()
            except StoreError:
                await asyncio.sleep(REDIS_RETRY_SECONDS)
            self._listening.clear()
            self._woken.set()

    def _on_finished(self) -> None:
        if self._more_waiting or len(self.runner) == self.slots.count - 1 or not len(self.runner):
            self._woken.set()

    async def _wait_until_idle(self) -> None:
        while len(self.runner) and self._stop is StopMode.NO:
            self._turn()
            await self._pause(MAX_WAIT_SECONDS)

    async def _finish(self) -> None:
        """Wait for the calls in flight until the grace period ends, put the rest back, and settle everything."""
        while (
            len(self.runner)
            and self._stop is not StopMode.NOW
            and (remaining := self._drain_ends - time.monotonic()) > 0
        ):
            self._turn()
            await self._pause(min(1.0, remaining))
        await self.runner.stop()
        await self.settler.flush()

    def _turn(self) -> None:
        self.turned_at = time.monotonic()
        self._woken.clear()

    async def _pause(self, seconds: float) -> bool:
        """Sleep until something wakes the worker; False if the time passed first."""
        try:
            async with asyncio.timeout(seconds):
                return await self._woken.wait()
        except TimeoutError:
            return False
