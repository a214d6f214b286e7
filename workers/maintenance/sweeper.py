"""Looks after jobs that no worker claims: moves, holds or ends them. Each sweep covers the whole fleet."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.reconsider import leaves_unmet, reconsider
from openfall.router_core.deciding.steps import Conditions, Done, Fall, Handoff, Later, Step
from openfall.router_core.deciding.substitution import Substitution
from openfall.router_core.jobs.envelope import UnreadableEnvelope, unpack_answers, unpack_attempts, unpack_job
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.state.delivery_counts import DeliveryCounts, count_end
from openfall.router_core.state.errors import UnknownJob
from openfall.router_core.state.fleet_snapshot import FleetSnapshot
from openfall.router_core.state.job_records import read_attempts
from openfall.router_core.state.jobs import end_job
from openfall.router_core.state.keys import RECORD
from openfall.router_core.state.reap_and_sweep import WaitingJob, move
from openfall.router_core.state.reap_and_sweep import sweep as find_waiting
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import ErrorClass, HoldReason, Urgency
from openfall.workers.execution.delivery_log import DeliveryLog, describe_step
from openfall.workers.execution.executor import job_jitter
from openfall.workers.execution.job_traces import trace_end
from openfall.workers.execution.results import final_result, get_substitution

log = logging.getLogger("openfall.sweeping")

_REMOVED = {"cancelled": "cancelled with rq's own tools", "deleted": "its rq job was deleted with rq's own tools"}
"""Causes for which a job ends as cancelled."""


@dataclass(frozen=True, slots=True)
class Sweeper:
    """The sweeps of one worker."""

    link: RedisConnection
    catalog: Catalog

    async def sweep(self, snapshot: FleetSnapshot, *, clean: bool) -> int:
        """Look after the jobs that no worker claims, and count those that left their queue. Two workers may sweep at
        once: each job is moved once."""
        now, jobs = await find_waiting(self.link, snapshot.stranded_queues, snapshot.blocked_queues, clean=clean)
        left = 0
        fleets = dict(snapshot.fleet_states)  # updated with each move, so that the jobs do not all go to one idle model
        for job in jobs:
            if job.cause == "late" and job.queue in snapshot.unknown_queues:
                continue  # a worker with another configuration serves it
            left += await self._look_after(job, fleets, now)
        return left

    async def _look_after(self, waiting: WaitingJob, fleets: dict[Urgency, FleetState], now: float) -> bool:
        """Move the job, end it, or leave it: False."""
        if waiting.cause in _REMOVED:
            return await self._drop(waiting, self._cancelled(waiting), "canceled")
        try:
            job = unpack_job(waiting.head, waiting.deadline, waiting.accepted_at)
            attempts = unpack_attempts(waiting.attempts)
            answers, refusal = unpack_answers(waiting.answers)
        except UnreadableEnvelope as error:
            return await self._handle_unreadable(waiting, str(error), now)
        current_model, fleet = self._current_model(waiting, job), fleets[job.urgency]
        conditions = Conditions(
            current_model=current_model, jitter=job_jitter(job.id), fleet=fleet, answers=answers,
            default_fallback=bool(waiting.default_fallback), replied=waiting.replied, refusal=refusal,
            is_stranded=waiting.cause == "stranded",
        )  # fmt: skip
        step = reconsider(job, self.catalog, attempts, conditions, now)
        if isinstance(step, Done):
            # No default fallback has answered: its answer is settled.
            result = final_result(job, self.catalog, attempts, step, now)
            return await self._finish(waiting, job, result, get_substitution(job, self.catalog, attempts, step))
        if step is None:
            return False
        unmet = leaves_unmet(self.catalog, fleet, current_model, step)
        moved = await self._move(waiting, job, step, unmet)
        if isinstance(step, Handoff):
            fleets.update({urgency: fleet.with_one_more_waiting(step.model) for urgency, fleet in fleets.items()})
        return moved

    def _current_model(self, waiting: WaitingJob, job: CompletionJob) -> str:
        """The model in whose queue the job waits. If the queue belongs to no model any more, the queue itself. The
        model may have moved to another pool."""
        model = waiting.model
        known = model in self.catalog.models and self.catalog.queue(model, job.urgency) == waiting.queue
        return model if known else waiting.queue

    async def _move(self, waiting: WaitingJob, job: CompletionJob, step: Step, unmet: Sequence[str]) -> bool:
        if not isinstance(step, Handoff | Later | Fall):
            raise TypeError(f"{waiting.id}: a sweep cannot apply {type(step).__name__}")
        queue = "" if isinstance(step, Fall) else self.catalog.queue(step.model, job.urgency)
        moved = await move(self.link, waiting, step, queue, unmet)
        if moved:
            reason = step.detail if isinstance(step, Fall) else step.why
            then = describe_step(self.catalog, step)
            fields = {"job": waiting.id, "role": job.role, "queue": waiting.queue, "why": reason}
            level = logging.INFO if isinstance(step, Fall) else logging.WARNING  # `fell:` is the warning of a fall
            log.log(level, "%s in %s; %s", waiting.cause, waiting.queue, then, extra=fields)
        return moved

    async def _handle_unreadable(self, waiting: WaitingJob, reason: str, now: float) -> bool:
        """A job of a newer openfall is held for its worker, but not past its deadline."""
        if now >= waiting.deadline:
            return await self._drop(waiting, _expired(waiting), "failed")
        return await move(self.link, waiting, Fall(HoldReason.UNREADABLE, reason))

    async def _finish(
        self, waiting: WaitingJob, job: CompletionJob, result: Result, substitution: Substitution | None
    ) -> bool:
        rq_status = "finished" if result.answered else "failed"
        counts = count_end(job, result, substituted=substitution is not None)
        ended = await self._end(waiting, result, rq_status, substitution, counts)
        if ended:
            DeliveryLog(self.catalog).write_end(job, result, substitution)
            trace_end(job, result)
        return ended

    def _cancelled(self, waiting: WaitingJob) -> Result:
        """The end of a job that tools of rq have removed, with the attempts that can be read."""
        with self.link.notes.reading(RECORD + waiting.id):
            attempts = read_attempts(waiting.attempts)
        detail, error = _REMOVED[waiting.cause], ErrorClass.CANCELLED
        return Result(id=waiting.id, status=Status.CANCELLED, attempts=attempts, error=error, detail=detail)

    async def _drop(self, waiting: WaitingJob, result: Result, rq_status: str) -> bool:
        """End a job whose request was not read."""
        ended = await self._end(waiting, result, rq_status)
        if ended:
            log.warning("%s: %s", result.status, result.detail, extra={"job": waiting.id})
        return ended

    async def _end(
        self,
        waiting: WaitingJob,
        result: Result,
        rq_status: str,
        substitution: Substitution | None = None,
        counts: DeliveryCounts | None = None,
    ) -> bool:
        """End a job. False: it has ended already, or moved on."""
        try:
            return await end_job(
                self.link, result, rq_status=rq_status, expected_deliveries=waiting.deliveries,
                substitution=substitution, counts=counts,
            )  # fmt: skip
        except UnknownJob:
            return False


def _expired(waiting: WaitingJob) -> Result:
    detail = "its deadline passed while it waited"
    return Result(id=waiting.id, status=Status.EXPIRED, error=ErrorClass.TIMEOUT, detail=detail)
