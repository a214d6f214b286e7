"""From a decision that a job is done to its one terminal result."""

from __future__ import annotations

from router_core.decide import Done
from router_core.job import CompletionJob
from router_core.outcome import Attempt, Failure
from router_core.result import Result, Status


def result_of(job: CompletionJob, attempts: tuple[Attempt, ...], done: Done, now: float) -> Result:
    """The result of a job that is done at `now` (epoch seconds, server clock), with all its attempts."""
    outcome = done.outcome
    began = attempts[-1].started_at if attempts else now
    told = {
        "id": job.id,
        "attempts": attempts,
        "waited": round(began - job.accepted_at, 4),
        "took": round(now - job.accepted_at, 4),
        "reason": job.reason,
        **({"considered": job.considered} if job.considered else {}),
        **({"first_choice": job.chain[0]} if not attempts or attempts[0].model != job.chain[0] else {}),
    }
    if isinstance(outcome, Failure):
        status = Status.EXPIRED if done.expired else Status.FAILED
        return Result(status=status, error=outcome.error_class, detail=outcome.detail, **told)
    if done.answer is not None:
        told |= {"picked": f"{done.answer.model}@{done.answer.backend}", "picked_why": done.why}
    return Result(status=Status.ANSWERED, body=dict(outcome.body), finish_reason=outcome.finish_reason, **told)
