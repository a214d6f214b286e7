"""What nobody claims: moved to where it can be answered, held, or ended. One round looks after the whole fleet."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.deciding.decide import (
    Conditions,
    Done,
    Fall,
    Handoff,
    Later,
    Step,
)
from openfall.router_core.deciding.reconsider import reconsider
from openfall.router_core.jobs.envelope import (
    UnreadableEnvelope,
    unpack_answers,
    unpack_attempts,
    unpack_job,
)
from openfall.router_core.jobs.job import (
    CompletionJob,
)
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.routing.fleet_state import (
    FleetState,
)
from openfall.router_core.state.errors import UnknownJob
from openfall.router_core.state.fleet_snapshot import FleetSnapshot
from openfall.router_core.state.jobs import end_job
from openfall.router_core.state.maintenance import WaitingJob, move, sweep
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import (
    BlockReason,
    ErrorClass,
    HoldReason,
    Urgency,
)
from openfall.workers.execution.executor import jitter_of
from openfall.workers.execution.results import result_of

log = logging.getLogger("openfall.sweeping")

_LOST = {"cancelled": "cancelled with rq's own tools", "deleted": "its rq job was deleted with rq's own tools"}


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Carries out the rounds of one worker."""

    link: RedisConnection
    catalog: Catalog

    async def round(self, seen: FleetSnapshot, *, clean: bool) -> None:
        """Look after everything that waits in vain now. Two workers that do it at once do it once."""
        now, found = await sweep(self.link, seen.stranded_queues, clean=clean)
        fleets = dict(seen.fleet_states)  # changed with each move, so that not all go to the one model that was idle
        for job in found:
            if job.cause == "late" and job.queue in seen.unknown_queues:
                continue  # who serves it knows its model, and looks after it
            await self._look_after(job, fleets, now)

    async def _look_after(self, found: WaitingJob, fleets: dict[Urgency, FleetState], now: float) -> None:
        if found.cause in _LOST:
            await self._end(found, _cancelled(found), "canceled")
            return
        try:
            job = unpack_job(found.head, found.deadline, found.accepted_at)
            attempts = unpack_attempts(found.attempts)
            answers = unpack_answers(found.answers)
        except UnreadableEnvelope as error:
            await self._unreadable(found, str(error), now)
            return
        here, fleet = self._here(found, job), fleets[job.urgency]
        conditions = Conditions(here, jitter_of(job.id), fleet, answers, stand_in=bool(found.stand_in))
        step = reconsider(job, self.catalog, attempts, conditions, now)
        if isinstance(step, Done):
            result = result_of(job, attempts, step, now)  # no answer of a stand-in ends here: it is settled
            await self._end(found, result, "finished" if result.answered else "failed")
        elif isinstance(step, Fall) and found.cause == "stranded" and _is_paused(conditions):
            return  # a pause is meant to end: what cannot go elsewhere falls when it is late, and not before
        elif step is not None:
            await self._move(found, job, step)
            if isinstance(step, Handoff):
                fleets.update({urgency: fleet.with_one_more_waiting(step.model) for urgency, fleet in fleets.items()})

    def _here(self, found: WaitingJob, job: CompletionJob) -> str:
        """The model in whose queue it waits; the queue itself when it is that of no model any more: one may have gone
        to another pool."""
        known = found.model in self.catalog.models
        return found.model if known and self.catalog.queue(found.model, job.urgency) == found.queue else found.queue

    async def _move(self, found: WaitingJob, job: CompletionJob, step: Step) -> None:
        assert isinstance(step, Handoff | Later | Fall), "a job that waits is not called from here"
        queue = "" if isinstance(step, Fall) else self.catalog.queue(step.model, job.urgency)
        if await move(self.link, found, step, queue):
            why = step.detail if isinstance(step, Fall) else step.why
            log.warning("%s: %s in %s: %s to %s: %s", found.id, found.cause, found.queue, type(step).__name__,
                        queue or "degrade", why)  # fmt: skip

    async def _unreadable(self, found: WaitingJob, why: str, now: float) -> None:
        """What a newer openfall wrote waits for its worker, but not past its deadline."""
        if now >= found.deadline:
            await self._end(found, _expired(found), "failed")
        else:
            await move(self.link, found, Fall(HoldReason.UNREADABLE, why))

    async def _end(self, found: WaitingJob, result: Result, rq_status: str) -> None:
        with contextlib.suppress(UnknownJob):
            if await end_job(self.link, result, rq_status=rq_status, expected_deliveries=found.deliveries):
                log.warning("%s: %s: %s", found.id, result.status, result.detail)


def _is_paused(conditions: Conditions) -> bool:
    blocked = conditions.fleet.model(conditions.current_model).blocked
    return blocked is not None and blocked.reason is BlockReason.PAUSED


def _cancelled(found: WaitingJob) -> Result:
    return Result(
        id=found.id, status=Status.CANCELLED, attempts=unpack_attempts(found.attempts), error=ErrorClass.CANCELLED,
        detail=_LOST[found.cause],
    )  # fmt: skip


def _expired(found: WaitingJob) -> Result:
    detail = "its deadline passed while it waited"
    return Result(id=found.id, status=Status.EXPIRED, error=ErrorClass.TIMEOUT, detail=detail)
