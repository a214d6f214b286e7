"""What to do next with a job, given what has been tried. Pure: time and chance are arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from router_core.backoff import delay
from router_core.catalog import Catalog
from router_core.job import CompletionJob, Urgency
from router_core.outcome import Attempt, Completion, ErrorClass, Failure, Outcome

ROUNDS = 5
"""A model is asked at most this often for one job. After that the job falls: it is held, not lost."""


OWN_FAULTS = frozenset({ErrorClass.BAD_REQUEST, ErrorClass.CONTEXT_OVERFLOW, ErrorClass.CONTENT_FILTER})
"""What no outage causes and no waiting cures: a job that met nothing else fails, it does not fall."""


class HoldReason(StrEnum):
    """Why a job is parked in `degrade`."""

    OUTAGE = "outage"
    POISONED = "poisoned"
    UNREADABLE = "unreadable"  # written by a newer openfall than the worker's


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is so at the moment of deciding. `here` is the model whose queue delivered the job, `jitter` in [0, 1]."""

    here: str
    jitter: float = 0.5


@dataclass(frozen=True, slots=True)
class Call:
    """Ask this model now, for at most `timeout` seconds."""

    model: str
    timeout: float


@dataclass(frozen=True, slots=True)
class Handoff:
    """Put the job into the queue of the next model."""

    model: str
    at_front: bool


@dataclass(frozen=True, slots=True)
class Later:
    """Put the job back for this model, to be delivered after `delay` seconds."""

    model: str
    delay: float


@dataclass(frozen=True, slots=True)
class Fall:
    """Nothing can serve the job now: hold it for this reason."""

    reason: HoldReason
    detail: str


@dataclass(frozen=True, slots=True)
class Done:
    """The job has its one terminal result. `expired` when the deadline ended it rather than an outcome of its own."""

    outcome: Outcome
    expired: bool = False


Step = Call | Handoff | Later | Fall | Done


def decide(
    job: CompletionJob, catalog: Catalog, attempts: Sequence[Attempt], conditions: Conditions, now: float
) -> Step:
    """The next step of a job that has no answer yet.

    1. Past its deadline it is done, expired.
    2. A failure that is the job's own (a bad request, a cancel) ends it: another model would say the same.
    3. Of the models that may be asked now the one asked least is asked, by the order of the chain among equals: here,
       or after a hand-off. So a wait in the second model's queue does not send a job back to the first unasked.
    4. When every one that may still answer is in its back-off, the job waits for the first that is due.
    5. When none may answer any more, it falls; or it fails, if all of them refused it for its own faults.
    """
    if now >= job.deadline:
        return _expired(attempts)
    last = attempts[-1] if attempts else None
    if last and last.disposition and not last.disposition.try_next_model:
        return Done(_failure(last))
    dues = [(_due(alias, attempts, conditions.jitter), alias) for alias in job.chain if alias in catalog.models]
    ready = [alias for due, alias in dues if due is not None and due <= now]
    due_now = min(ready, key=lambda alias: sum(attempt.model == alias for attempt in attempts), default=None)
    if due_now == conditions.here:
        return Call(due_now, min(catalog.models[due_now].timeout, job.deadline - now))
    if due_now is not None:
        return Handoff(due_now, at_front=job.urgency is Urgency.INTERACTIVE)
    waits = [(due, alias) for due, alias in dues if due is not None]
    if not waits:
        return _exhausted(attempts)
    due, alias = min(waits, key=lambda wait: wait[0])
    return Later(alias, due - now) if due < job.deadline else _expired(attempts, due - job.deadline)


def conclude(
    job: CompletionJob,
    catalog: Catalog,
    attempts: Sequence[Attempt],
    outcome: Outcome,
    conditions: Conditions,
) -> Step:
    """The step after a call that just ended, whose attempt is the last of `attempts`.

    An answer is an answer, however late; a failure is decided at the moment it ended. Back-off keeps this from ever
    being `Call`: a model that has just failed is never due at once.
    """
    if isinstance(outcome, Completion):
        return Done(outcome)
    return decide(job, catalog, attempts, conditions, attempts[-1].ended_at)


def _due(alias: str, attempts: Sequence[Attempt], jitter: float) -> float | None:
    """The moment from which a model may be asked: 0 when it never was, None when it is not to be asked again."""
    tried = [attempt for attempt in attempts if attempt.model == alias]
    if not tried:
        return 0.0
    last = tried[-1]
    if len(tried) >= ROUNDS or not last.may_be_repeated:
        return None
    return last.ended_at + delay(len(tried), jitter, last.retry_after)


def _exhausted(attempts: Sequence[Attempt]) -> Fall | Done:
    if not attempts:
        return Fall(HoldReason.OUTAGE, "no model of its chain is in the catalog any more")
    if all(attempt.error in OWN_FAULTS for attempt in attempts):
        return Done(_failure(attempts[-1]))
    told = "; ".join(f"{attempt.model}: {attempt.error}" for attempt in attempts[-3:])
    return Fall(HoldReason.OUTAGE, f"every model of its chain has failed ({told})")


def _expired(attempts: Sequence[Attempt], too_late: float = 0.0) -> Done:
    """The end at a deadline that has passed, or would by `too_late` seconds before any model may be asked again."""
    when = (
        f"no model may be asked again until {too_late:.0f} s after its deadline" if too_late else "its deadline passed"
    )
    told = " in the queue"
    if attempts:
        last = attempts[-1]
        told = f"; attempts: {len(attempts)}, the last: {last.model}: {last.detail or last.error}"
    return Done(Failure(error_class=ErrorClass.TIMEOUT, detail=when + told), expired=True)


def _failure(attempt: Attempt) -> Failure:
    error = attempt.error or ErrorClass.OTHER
    return Failure(error_class=error, detail=attempt.detail, retry_after=attempt.retry_after)
