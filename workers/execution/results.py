"""From a decision to the result that tells of it: the terminal one, or what is told while a job is held."""

from __future__ import annotations

from typing import Any

from openfall.router_core.deciding.decide import Done
from openfall.router_core.degrading.degrade import Degraded, Hold
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt, Completion, Failure
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.vocabulary import (
    Remedy,
)


def result_of(
    job: CompletionJob, attempts: tuple[Attempt, ...], done: Done, now: float, *, stand_in_for: str = ""
) -> Result:
    """The result of a job that is done at `now` (epoch seconds, server clock), with all its attempts.

    `stand_in_for`: why the models of its chain could not answer, when another than they was asked in their stead.
    """
    outcome, told = done.outcome, _told(job, attempts, now)
    if isinstance(outcome, Failure):
        status = Status.EXPIRED if done.expired else Status.FAILED
        return Result(status=status, error=outcome.error_class, detail=outcome.detail, **told)
    if done.answer is not None:
        told |= {"picked": f"{done.answer.model}@{done.answer.backend}", "picked_why": done.why}
    if not stand_in_for:
        return Result(status=Status.ANSWERED, **_shown(outcome), **told)
    told |= {"degraded_by": Remedy.DEFAULT_FALLBACK, "degraded_why": stand_in_for}
    return Result(status=Status.DEGRADED, **_shown(outcome), **told)


def degraded_result(job: CompletionJob, attempts: tuple[Attempt, ...], degraded: Degraded, now: float) -> Result:
    """The result of a job that fell and ends: degraded with its reply, or failed."""
    outcome, told = degraded.outcome, _told(job, attempts, now)
    told |= {"degraded_by": degraded.by, "degraded_why": degraded.why}
    if isinstance(outcome, Failure):
        return Result(status=Status.FAILED, error=outcome.error_class, detail=outcome.detail, **told)
    return Result(status=Status.DEGRADED, **_shown(outcome), **told)


def interim_result(job: CompletionJob, attempts: tuple[Attempt, ...], hold: Hold, now: float) -> Result:
    """What is told of a job while it is held; its terminal result is still to come."""
    told = _told(job, attempts, now) | {"held_for": hold.reason, "degraded_why": hold.detail}
    if hold.by is not None:
        told |= {"degraded_by": hold.by}
    return Result(status=Status.DEGRADED, **(_shown(hold.reply) if hold.reply else {}), **told)


def unread_result(job_id: str, hold: Hold, took: float) -> Result:
    """The same of a job whose request cannot be read."""
    return Result(id=job_id, status=Status.DEGRADED, held_for=hold.reason, degraded_why=hold.detail, took=took)


def _told(job: CompletionJob, attempts: tuple[Attempt, ...], now: float) -> dict[str, Any]:
    """What every result tells. A field with its default is left out: it costs nothing in Redis."""
    began = attempts[-1].started_at if attempts else now
    return {
        "id": job.id,
        "attempts": attempts,
        "waited": round(began - job.accepted_at, 4),
        "took": round(now - job.accepted_at, 4),
        "reason": job.reason,
        **({"considered": job.considered} if job.considered else {}),
        **({"first_choice": job.chain[0]} if not attempts or attempts[0].model != job.chain[0] else {}),
    }


def _shown(answer: Completion) -> dict[str, Any]:
    return {"body": dict(answer.body), "finish_reason": answer.finish_reason}
