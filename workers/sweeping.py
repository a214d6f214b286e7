"""What nobody claims: moved to where it can be answered, held, or ended. One round looks after the whole fleet."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass

from router_core.catalog import Catalog
from router_core.decide import Conditions, Done, Fall, Handoff, HoldReason, Later, Step
from router_core.envelope import UnreadableEnvelope, unpack_answers, unpack_attempts, unpack_job
from router_core.job import CompletionJob
from router_core.outcome import Attempt, ErrorClass, Failure
from router_core.reconsider import reconsider
from router_core.result import Result, Status
from router_core.state.errors import UnknownJob
from router_core.state.intake import end
from router_core.state.link import Link
from router_core.state.rounds import Found, move, sweep
from router_core.state.survey import Survey
from workers.attempt import jitter_of, picked_result

log = logging.getLogger("openfall.sweeping")

_LOST = {"cancelled": "cancelled with rq's own tools", "deleted": "its rq job was deleted with rq's own tools"}


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Carries out the rounds of one worker."""

    link: Link
    catalog: Catalog

    async def round(self, seen: Survey, *, clean: bool) -> None:
        """Look after everything that waits in vain now. Two workers that do it at once do it once."""
        now, found = await sweep(self.link, seen.stranded, clean=clean)
        for job in found:
            await self._look_after(job, seen, now)

    async def _look_after(self, found: Found, seen: Survey, now: float) -> None:
        if found.why in _LOST:
            await self._end(found, _cancelled(found), "canceled")
            return
        try:
            job = unpack_job(found.head, found.deadline, found.accepted_at)
            attempts = unpack_attempts(found.attempts)
            answers = unpack_answers(found.answers)
        except UnreadableEnvelope as error:
            await self._unreadable(found, str(error), now)
            return
        conditions = Conditions(found.model, jitter_of(job.id), seen.fleet(job.urgency), answers)
        step = reconsider(job, self.catalog, attempts, conditions, now)
        if isinstance(step, Done):
            await self._end(found, _ended(job, attempts, step, now), "failed")
        elif step is not None:
            await self._move(found, job, step)

    async def _move(self, found: Found, job: CompletionJob, step: Step) -> None:
        assert isinstance(step, Handoff | Later | Fall), "a job that waits is not called from here"
        queue = "" if isinstance(step, Fall) else self.catalog.queue(step.model, job.urgency)
        if await move(self.link, found, step, queue):
            why = step.detail if isinstance(step, Fall) else step.why
            log.warning("%s: %s in %s: %s to %s: %s", found.id, found.why, found.queue, type(step).__name__,
                        queue or "degrade", why)  # fmt: skip

    async def _unreadable(self, found: Found, why: str, now: float) -> None:
        """What a newer openfall wrote waits for its worker, but not past its deadline."""
        if now >= found.deadline:
            await self._end(found, _expired(found.id, "its deadline passed while it waited"), "failed")
        else:
            await move(self.link, found, Fall(HoldReason.UNREADABLE, why))

    async def _end(self, found: Found, result: Result, rq_status: str) -> None:
        with contextlib.suppress(UnknownJob):
            if await end(self.link, result, rq_status=rq_status, seen_deliveries=found.deliveries):
                log.warning("%s: %s: %s", found.id, result.status, result.detail)


def _cancelled(found: Found) -> Result:
    return Result(
        id=found.id, status=Status.CANCELLED, attempts=unpack_attempts(found.attempts), error=ErrorClass.CANCELLED,
        detail=_LOST[found.why],
    )  # fmt: skip


def _expired(job_id: str, why: str, attempts: tuple[Attempt, ...] = ()) -> Result:
    return Result(id=job_id, status=Status.EXPIRED, attempts=attempts, error=ErrorClass.TIMEOUT, detail=why)


def _ended(job: CompletionJob, attempts: tuple[Attempt, ...], done: Done, now: float) -> Result:
    """The end of a job that waited: without an answer, or with the best of those that it has."""
    took = round(now - job.accepted_at, 4)
    if not isinstance(done.outcome, Failure):
        return picked_result(job, attempts, done, took)
    return Result(
        id=job.id, status=Status.EXPIRED if done.expired else Status.FAILED, attempts=attempts,
        error=done.outcome.error_class, detail=done.outcome.detail, took=took, reason=job.reason,
        considered=job.considered,
    )  # fmt: skip
