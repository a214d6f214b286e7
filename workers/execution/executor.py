"""One claim carried out: decide, call one model once, tell the core what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from zlib import crc32

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.deciding.answer_checks import check_answer
from openfall.router_core.deciding.decide import (
    Call,
    Conditions,
    Done,
    Fall,
    Handoff,
    Later,
    Step,
    conclude,
    decide,
)
from openfall.router_core.deciding.ensemble import (
    ensemble_for,
    judge_body,
)
from openfall.router_core.degrading.degrade import allowed_remedies
from openfall.router_core.jobs.envelope import (
    UnreadableEnvelope,
    pack_answer,
    request_key,
    unpack_answers,
    unpack_attempts,
    unpack_job,
)
from openfall.router_core.jobs.job import (
    CompletionJob,
)
from openfall.router_core.jobs.outcome import (
    Answer,
    Attempt,
    Completion,
    Failure,
    Outcome,
)
from openfall.router_core.jobs.request_body import (
    last_user_text,
)
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.routing.fleet_state import (
    FleetState,
)
from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.settlement import CallReport as MadeCall
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.vocabulary import (
    ErrorClass,
    HoldReason,
    Remedy,
    Urgency,
)
from openfall.workers.backends.base import CompletionBackend, OnDelta, Request
from openfall.workers.execution.call_report import CallReporter, FinishedCall
from openfall.workers.execution.json_schema import schema_error
from openfall.workers.execution.results import result_of


@dataclass(frozen=True, slots=True, kw_only=True)
class JobExecutor:
    """Carries out deliveries. `fleet` tells what was last seen of the fleet, as a job of an urgency finds it."""

    catalog: Catalog
    backends: Mapping[str, CompletionBackend]
    fleet: Callable[[Urgency], FleetState] = lambda urgency: FleetState()
    chance: Callable[[], float] = lambda: 0.5
    accountant: CallReporter = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "accountant", CallReporter(self.catalog))

    async def carry_out(
        self, delivery: Delivery, clock: Callable[[], float], on_delta: OnDelta | None
    ) -> DeliveryOutcome:
        """Make at most one call. `clock` is the server's, in epoch seconds. Raises only when cancelled."""
        try:
            course = _course(delivery, clock())
        except UnreadableEnvelope as error:
            return DeliveryOutcome(next_step=Fall(HoldReason.UNREADABLE, str(error)))
        job, attempts = course.job, course.attempts
        conditions = self._conditions(delivery, job, course.answers)
        step = decide(job, self.catalog, attempts, self._as_claimed(conditions), course.now)
        if not isinstance(step, Call):
            return self._ending(step, course, None)
        answer = await self._call(course, step, on_delta)
        outcome = answer if step.judging else check_answer(answer, job, self.catalog, schema_error)
        made = FinishedCall(
            model=step.model, why=step.why, answer=answer, outcome=outcome, started_at=course.now, ended_at=clock()
        )
        call = self.accountant.call(job, delivery, attempts, made, self.chance())
        course = _Course(job, delivery, (*attempts, call.attempt), course.answers, made.ended_at)
        if isinstance(outcome, Failure):
            conditions = self._conditions(delivery, job, course.answers)  # the call took its time
        return self._ending(conclude(job, self.catalog, course.attempts, outcome, conditions), course, call, outcome)

    def interrupted(self, delivery: Delivery, now: float, *, by_command: bool) -> DeliveryOutcome:
        """The end of a call that was stopped: cancelled for good by a command, else put back untouched."""
        if not by_command:
            return DeliveryOutcome(next_step=None)
        took = round(now - delivery.accepted_at, 4)
        attempts = unpack_attempts(delivery.attempts)
        return DeliveryOutcome(
            next_step=Result(
                id=delivery.id, status=Status.CANCELLED, attempts=attempts, error=ErrorClass.CANCELLED,
                detail="stopped by an rq command", took=took,
            )
        )  # fmt: skip

    def _conditions(self, delivery: Delivery, job: CompletionJob, answers: Sequence[Answer]) -> Conditions:
        stand_in = delivery.fall is not None
        return Conditions(delivery.model, jitter_of(job.id), self.fleet(job.urgency), answers, stand_in)

    def _as_claimed(self, conditions: Conditions) -> Conditions:
        """What the claim has found since the last survey: here takes calls, and may be left for if it is not local."""
        fleet = conditions.fleet.unblocked(conditions.current_model)
        if fleet.local_only and not self.catalog.is_local(conditions.current_model):
            fleet = replace(fleet, local_only=False)  # else what waited for the end of the switch would be held by it
        return conditions if fleet is conditions.fleet else replace(conditions, fleet=fleet)

    def failed(self, delivery: Delivery, why: str, now: float) -> DeliveryOutcome:
        """A bug of ours must not cost the job: nothing can serve it now."""
        return DeliveryOutcome(next_step=Fall(HoldReason.POISONED, why))

    def _end(self, done: Done, course: _Course, call: MadeCall | None) -> DeliveryOutcome:
        """The end of a job. A good answer is remembered for those who may want it again."""
        job, fell = course.job, course.delivery.fall
        result = result_of(job, course.attempts, done, course.now, stand_in_for=fell.detail if fell else "")
        if result.status is Status.ANSWERED and Remedy.LAST_ANSWER in allowed_remedies(job, self.catalog):
            return DeliveryOutcome(
                next_step=result, call=call, remember_answer=(request_key(job), self.catalog.open_fall.last_answer_ttl)
            )
        return DeliveryOutcome(next_step=result, call=call)

    async def _call(self, course: _Course, call: Call, on_delta: OnDelta | None) -> Outcome:
        job, model = course.job, self.catalog.models[call.model]
        body: Mapping[str, object] = job.body
        if call.judging:
            body = judge_body(last_user_text(job.body), course.answers, job.dialect)
        if ensemble_for(job, self.catalog) is not None:
            on_delta = None  # one of several answers, and perhaps not the one that is kept
        if on_delta is None and self.catalog.backends[course.delivery.backend].embedded:
            on_delta = _unheard  # llama.cpp notices that we have hung up only while it streams (6 s late, measured)
        request = Request(
            body=body,
            dialect=job.dialect,
            upstream=model.upstream,
            timeout=call.timeout,
            max_tokens=model.max_tokens,
            sampling_params=model.sampling_params,
            ctx=model.context,
        )
        return await self.backends[course.delivery.backend].complete(request, on_delta)

    def _ending(
        self, step: Step, course: _Course, call: MadeCall | None, outcome: Outcome | None = None
    ) -> DeliveryOutcome:
        match step:
            case Done():
                return self._end(step, course, call)
            case Handoff(model=model) | Later(model=model):
                queue = self.catalog.queue(model, course.job.urgency)
                return DeliveryOutcome(next_step=step, call=call, to_queue=queue, answer=_kept(call, outcome))
            case Fall():
                return DeliveryOutcome(next_step=step, call=call)
            case Call():
                raise AssertionError("a model that has just failed is never due at once")


@dataclass(frozen=True, slots=True)
class _Course:
    """How far a delivery has come: its job, what has been tried and answered, and the moment."""

    job: CompletionJob
    delivery: Delivery
    attempts: tuple[Attempt, ...]
    answers: tuple[Answer, ...]
    now: float


def _course(delivery: Delivery, now: float) -> _Course:
    job = unpack_job(delivery.envelope, delivery.deadline, delivery.accepted_at)
    return _Course(job, delivery, unpack_attempts(delivery.attempts), unpack_answers(delivery.answers), now)


def jitter_of(job_id: str) -> float:
    """A job's own place in [0, 1]: jobs that failed together come back apart, and one job is due at one moment only."""
    return crc32(job_id.encode()) / 2**32


def _unheard(text: str) -> None:
    """For a call that is streamed although nobody listens."""


def _kept(call: MadeCall | None, outcome: Outcome | None) -> bytes:
    """The answer of an ensemble's model, which waits with the job for the others."""
    if call is None or not isinstance(outcome, Completion):
        return b""
    return pack_answer(Answer(call.attempt.model, call.attempt.backend, outcome))
