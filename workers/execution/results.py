"""Builds the terminal result of a job, and the interim one that its caller reads while the job is held."""

from __future__ import annotations

from typing import Any

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.steps import Done
from openfall.router_core.deciding.substitution import Substitution, job_substitution
from openfall.router_core.degrading.degrade import Degraded
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt, Completion, Failure
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.vocabulary import Remedy, ServedBy


def final_result(job: CompletionJob, catalog: Catalog, attempts: tuple[Attempt, ...], done: Done, now: float) -> Result:
    """The result of a job that is done at `now` (epoch seconds, server clock), with all its attempts."""
    outcome, fields = done.outcome, _common_fields(job, attempts, now)
    if isinstance(outcome, Failure):
        status = Status.EXPIRED if done.expired else Status.FAILED
        return Result(status=status, error=outcome.error_class, detail=outcome.detail, **fields)
    if done.answer is not None:
        fields |= {"picked": f"{done.answer.model}@{done.answer.backend}", "picked_why": done.why}
        if get_substitution(job, catalog, attempts, done) is None:
            fields.pop("first_choice", None)  # one of several first choices answered
        else:
            fields["first_choice"] = job.as_configured[0]
    if (model := _answering(attempts, done)[0]) in catalog.models:
        fields["served_by"] = ServedBy.LOCAL if catalog.is_local(model) else ServedBy.CLOUD
    return Result(status=Status.ANSWERED, **_answer_fields(outcome), **fields)


def default_fallback_result(result: Result, why: str) -> Result:
    """The result of a job whose default fallback was called. `why`: why no model of its chain could answer."""
    if not result.answered:
        return result
    degraded = {"status": Status.DEGRADED, "degraded_by": Remedy.DEFAULT_FALLBACK, "degraded_why": why}
    return result.model_copy(update=degraded)


def get_substitution(
    job: CompletionJob, catalog: Catalog, attempts: tuple[Attempt, ...], done: Done
) -> Substitution | None:
    """What the answer of a job stands in place of; None: its first choice answered, or no model did."""
    if isinstance(done.outcome, Failure):
        return None
    return job_substitution(job, catalog, *_answering(attempts, done))


def _answering(attempts: tuple[Attempt, ...], done: Done) -> tuple[str, str]:
    """The model and the backend of an answer."""
    answer = done.answer or attempts[-1]
    return answer.model, answer.backend


def degraded_result(job: CompletionJob, attempts: tuple[Attempt, ...], degraded: Degraded, now: float) -> Result:
    """The result of a job that fell and ends: degraded with its reply, or failed."""
    outcome, fields = degraded.outcome, _common_fields(job, attempts, now)
    fields |= {"degraded_by": degraded.by, "degraded_why": degraded.why}
    if isinstance(outcome, Failure):
        return Result(status=Status.FAILED, error=outcome.error_class, detail=outcome.detail, **fields)
    return Result(status=Status.DEGRADED, **_answer_fields(outcome), **fields)


def interim_result(job: CompletionJob, attempts: tuple[Attempt, ...], hold: Hold, now: float) -> Result:
    """The result that a caller reads while the job is held. It is not final."""
    fields = _common_fields(job, attempts, now) | {"held_for": hold.reason, "degraded_why": hold.detail}
    fields["held_until"] = hold.keep_until or job.deadline
    if hold.by is not None:
        fields |= {"degraded_by": hold.by}
    return Result(status=Status.DEGRADED, **(_answer_fields(hold.reply) if hold.reply else {}), **fields)


def unreadable_result(job_id: str, hold: Hold, took: float) -> Result:
    """The interim result of a job whose request cannot be read."""
    return Result(id=job_id, status=Status.DEGRADED, held_for=hold.reason, degraded_why=hold.detail, took=took)


def _common_fields(job: CompletionJob, attempts: tuple[Attempt, ...], now: float) -> dict[str, Any]:
    """The fields of every result. A field with its default value is left out, which saves space in Redis."""
    started_at, first_choice = attempts[-1].started_at if attempts else now, job.as_configured[0]
    return {
        "id": job.id,
        "attempts": attempts,
        "waited": round(started_at - job.accepted_at, 4),
        "took": round(now - job.accepted_at, 4),
        "reason": job.reason,
        **({"considered": job.considered} if job.considered else {}),
        **({"first_choice": first_choice} if not attempts or attempts[0].model != first_choice else {}),
    }


def _answer_fields(answer: Completion) -> dict[str, Any]:
    return {"body": dict(answer.body), "finish_reason": answer.finish_reason}
