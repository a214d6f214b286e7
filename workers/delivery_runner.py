"""Runs the claimed deliveries of one worker, each as a task: execute, stream, settle."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson

from openfall.router_core.deciding.crash_limits import CONDEMN_AFTER_ALONE
from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.workers.backends.shortage_errors import OUT_OF_MEMORY
from openfall.workers.execution.executor import Executor
from openfall.workers.execution.piece_writer import PieceWriter
from openfall.workers.settler import Settler
from openfall.workers.slots_in_shortage import Slots, WorkerShortage

log = logging.getLogger("openfall.worker")

MAX_FOLLOWED = 64

_BY_COMMAND = "cancelled by a command"
DOES_NOT_FIT = f"it used up the memory of its worker {CONDEMN_AFTER_ALONE} times while it ran alone"


@dataclass(slots=True)
class _Running:
    """A delivery in flight. `settles`: if it is cancelled, it puts its job back; False if its lease or job is gone."""

    delivery: Delivery
    writer: PieceWriter
    task: asyncio.Task[None] = field(init=False)
    settles: bool = True


@dataclass(slots=True, kw_only=True)
class DeliveryRunner:
    """The deliveries in flight. It calls `on_finished` after each one, when its slot is free again."""

    queue: WorkerQueue
    settler: Settler
    executor: Executor
    slots: Slots
    on_finished: Callable[[], None]
    _running: dict[str, _Running] = field(default_factory=dict, init=False)
    _followed: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_FOLLOWED), init=False)
    """Jobs whose followers came before the reply of their claim."""
    _appending: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _used_up_memory: Counter[str] = field(default_factory=Counter, init=False)
    """By job: how often it used up the memory of this process while it ran alone."""

    def __len__(self) -> int:
        return len(self._running)

    @property
    def deliveries(self) -> list[Delivery]:
        """The deliveries in flight."""
        return [running.delivery for running in self._running.values()]

    def start(self, delivery: Delivery, claimed_at: float) -> None:
        """Run a delivery in the background. `claimed_at` is monotonic."""
        running = _Running(delivery, self._open_writer(delivery))
        clock = _server_clock(delivery.server_now, claimed_at)
        running.task = asyncio.create_task(self._run(running, clock), name=delivery.id)
        self._running[delivery.token] = running

    def cancel(self, job_id: str, *, ended: bool) -> None:
        """Stop the call for a job. `ended`: the job has its result already; otherwise it is settled as cancelled."""
        for running in self._find(job_id):
            running.settles = running.settles and not ended
            running.task.cancel(_BY_COMMAND)

    def stream(self, job_id: str) -> None:
        """Write the pieces of an answer in flight: a caller follows the job."""
        deliveries = self._find(job_id)
        for running in deliveries:
            running.writer.open()
        if not deliveries:
            self._followed.append(job_id)

    def abandon(self, job_id: str) -> None:
        """Stop the call for a job whose lease was lost: another worker has the job. Nothing is settled."""
        for running in self._find(job_id):
            if running.settles:
                running.settles = False
                running.task.cancel("lease lost")
                log.warning("lease lost: another worker has the job, or Redis has lost it", extra={"job": job_id})

    async def stop(self) -> None:
        """Cancel every delivery and put its job back."""
        tasks = [running.task for running in self._running.values()]
        for running in self.deliveries:
            log.info("put back into its queue: this worker stops", extra={"job": running.id})
        for task in tasks:
            task.cancel("stopping")
        await asyncio.gather(*tasks, return_exceptions=True)

    def _find(self, job_id: str) -> list[_Running]:
        return [running for running in self._running.values() if running.delivery.id == job_id]

    async def _run(self, running: _Running, clock: Callable[[], float]) -> None:
        """Run one delivery. Its slot is free when its call has ended: the settlement and the next claim go to Redis
        together, the settlement first."""
        delivery = running.delivery
        try:
            outcome = await self._execute(running, clock)
            if outcome is not None:
                settlement = self.queue.settlement(delivery, outcome)
                self.settler.submit(self.settler.settle(settlement), f"settle-{delivery.id}")
        finally:
            self._running.pop(delivery.token, None)
            self.on_finished()

    async def _execute(self, running: _Running, clock: Callable[[], float]) -> DeliveryOutcome | None:
        """The outcome of a delivery; None if it must not be settled any more."""
        delivery = running.delivery
        try:
            on_progress = partial(self._show_progress, delivery, clock) if delivery.interactive else None
            outcome = await self.executor.execute(delivery, clock, running.writer.add, on_progress)
            await running.writer.finish()
            self._used_up_memory.pop(delivery.id, None)
            return outcome
        except asyncio.CancelledError as cancelled:
            if not running.settles:
                return None
            return self.executor.on_cancelled(delivery, clock(), by_command=_BY_COMMAND in cancelled.args)
        except WorkerShortage as shortage:
            self.slots.shrink(str(shortage), len(self))
            if self._does_not_fit(delivery, str(shortage)):
                return self.executor.on_error(delivery, DOES_NOT_FIT, clock())
            return DeliveryOutcome(next_step=None)
        except Exception as error:  # a bug in openfall must cost neither the job nor the other calls
            log.exception("internal error", extra={"job": delivery.id})
            return self.executor.on_error(delivery, f"internal error in openfall: {type(error).__name__}", clock())

    def _does_not_fit(self, delivery: Delivery, shortage: str) -> bool:
        """Whether a job has used up the memory of this process as often as it may, each time alone. Put back, it would
        be called, and paid, for ever."""
        if shortage != OUT_OF_MEMORY or len(self) > 1:
            return False
        self._used_up_memory[delivery.id] += 1
        if self._used_up_memory[delivery.id] < CONDEMN_AFTER_ALONE:
            return False
        del self._used_up_memory[delivery.id]
        return True

    def _show_progress(self, delivery: Delivery, clock: Callable[[], float], event: dict[str, Any]) -> None:
        """Append an event about the call to those of the job. The caller misses one that does not arrive."""

        packed = orjson.dumps(event | {"at": round(1000 * clock())})

        async def append() -> None:
            with suppress(StoreError):
                await self.queue.append_events(delivery, packed)

        task = asyncio.create_task(append(), name=f"progress-{delivery.id}")
        self._appending.add(task)
        task.add_done_callback(self._appending.discard)

    def _open_writer(self, delivery: Delivery) -> PieceWriter:
        return PieceWriter(
            partial(self.queue.append_pieces, delivery),
            lambda: self.abandon(delivery.id),
            is_open=delivery.streamed or delivery.id in self._followed,
        )


def _server_clock(server_now: float, claimed_at: float) -> Callable[[], float]:
    """The server's clock, continued by the local monotonic one: a jump of the local clock affects no deadline."""
    return lambda: round(server_now + (time.monotonic() - claimed_at), 3)
