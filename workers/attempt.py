"""One claim carried out: decide, call one model once, tell the core what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from zlib import crc32

from router_core.catalog import Catalog
from router_core.decide import Call, Conditions, Done, Fall, Handoff, HoldReason, Later, Step, conclude, decide
from router_core.envelope import UnreadableEnvelope, unpack_attempts, unpack_job
from router_core.job import CompletionJob
from router_core.outcome import Attempt, Completion, ErrorClass, Failure, Outcome
from router_core.result import Result, Status
from router_core.state.delivery import Delivery, Next
from workers.backends.base import CompletionBackend, OnDelta, Request


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a delivery came to. `attempt` is None when no call was made; `to_queue` is where a hand-off goes."""

    next: Next
    attempt: Attempt | None = None
    to_queue: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """Carries out deliveries."""

    catalog: Catalog
    backends: Mapping[str, CompletionBackend]

    async def carry_out(self, delivery: Delivery, clock: Callable[[], float], on_delta: OnDelta | None) -> Verdict:
        """Make at most one call. `clock` is the server's, in epoch seconds. Raises only when cancelled."""
        try:
            job = unpack_job(delivery.envelope, delivery.deadline)
            attempts = unpack_attempts(delivery.attempts)
        except UnreadableEnvelope as error:
            return Verdict(Fall(HoldReason.UNREADABLE, str(error)))
        conditions = Conditions(here=delivery.model, jitter=_jitter(job.id))
        course = _Course(job, delivery, attempts, clock())
        step = decide(job, self.catalog, attempts, conditions, course.now)
        if not isinstance(step, Call):
            return self._verdict(step, course, None)
        outcome = await self._call(job, delivery, step, on_delta)
        attempt = _attempt(step.model, delivery.backend, outcome, course.now, clock())
        course = _Course(job, delivery, (*attempts, attempt), attempt.ended_at)
        return self._verdict(conclude(job, self.catalog, course.attempts, outcome, conditions), course, attempt)

    def interrupted(self, delivery: Delivery, now: float, *, by_command: bool) -> Verdict:
        """The verdict on a call that was stopped: cancelled for good by a command, else put back untouched."""
        if not by_command:
            return Verdict(None)
        took = round(now - delivery.accepted_at, 4)
        attempts = unpack_attempts(delivery.attempts)
        return Verdict(
            Result(
                id=delivery.id, status=Status.CANCELLED, attempts=attempts, error=ErrorClass.CANCELLED,
                detail="stopped by an rq command", took=took,
            )
        )  # fmt: skip

    async def _call(self, job: CompletionJob, delivery: Delivery, call: Call, on_delta: OnDelta | None) -> Outcome:
        model = self.catalog.models[call.model]
        request = Request(body=job.body, upstream=model.upstream, timeout=call.timeout, max_tokens=model.max_tokens)
        return await self.backends[delivery.backend].complete(request, on_delta)

    def _verdict(self, step: Step, course: _Course, made: Attempt | None) -> Verdict:
        match step:
            case Done():
                return Verdict(_result(step, course), made)
            case Handoff(model=model) | Later(model=model):
                return Verdict(step, made, self.catalog.queue(model, course.job.urgency))
            case Fall():
                return Verdict(step, made)
            case Call():
                raise AssertionError("a model that has just failed is never due at once")


@dataclass(frozen=True, slots=True)
class _Course:
    """How far a delivery has come: its job, what has been tried, and the moment."""

    job: CompletionJob
    delivery: Delivery
    attempts: tuple[Attempt, ...]
    now: float


def _jitter(job_id: str) -> float:
    """A job's own place in [0, 1]: jobs that failed together come back apart, and one job is due at one moment only."""
    return crc32(job_id.encode()) / 2**32


def _attempt(model: str, backend: str, outcome: Outcome, started_at: float, ended_at: float) -> Attempt:
    if isinstance(outcome, Failure):
        return Attempt(
            model=model, backend=backend, started_at=started_at, ended_at=ended_at,
            error=outcome.error_class, detail=outcome.detail, retry_after=outcome.retry_after,
        )  # fmt: skip
    return Attempt(
        model=model, backend=backend, started_at=started_at, ended_at=ended_at,
        input_tokens=outcome.input_tokens, output_tokens=outcome.output_tokens,
    )  # fmt: skip


def _result(done: Done, course: _Course) -> Result:
    job, attempts, accepted_at = course.job, course.attempts, course.delivery.accepted_at
    began = attempts[-1].started_at if attempts else course.now
    waited, took = round(began - accepted_at, 4), round(course.now - accepted_at, 4)
    outcome = done.outcome
    if isinstance(outcome, Completion):
        return Result(
            id=job.id, status=Status.ANSWERED, attempts=attempts, body=dict(outcome.body),
            finish_reason=outcome.finish_reason, waited=waited, took=took, reason=job.reason,
        )  # fmt: skip
    return Result(
        id=job.id, status=Status.EXPIRED if done.expired else Status.FAILED, attempts=attempts,
        error=outcome.error_class, detail=outcome.detail, waited=waited, took=took, reason=job.reason,
    )  # fmt: skip
