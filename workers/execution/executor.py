"""Executes one delivery: decide, call one model at most once, report the outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol
from zlib import crc32

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.accepted_refusals import refusal_of
from openfall.router_core.deciding.answer_checks import Validates, check_answer, uses_schemas
from openfall.router_core.deciding.decide import conclude, decide, is_retry
from openfall.router_core.deciding.remedies import allowed_remedies
from openfall.router_core.deciding.steps import Call, Conditions, Done, Fall, Handoff, Later, Step
from openfall.router_core.jobs.envelope import UnreadableEnvelope, pack_answer, unpack_attempts
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Answer, Attempt, Completion, Failure, Outcome
from openfall.router_core.jobs.request_fingerprint import request_key
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.settlement import CallReport, DeliveryOutcome
from openfall.router_core.vocabulary import ErrorClass, HoldReason, Remedy, Urgency
from openfall.workers.backends.call_request import OnPieces
from openfall.workers.backends.registry import Clients
from openfall.workers.execution.bounded_check import SlowCheck, UnfinishedCheck, check_at_length, check_briefly
from openfall.workers.execution.call_report import CallReporter, FinishedCall
from openfall.workers.execution.delivery_log import DeliveryLog
from openfall.workers.execution.delivery_state import DeliveryState, read_state
from openfall.workers.execution.job_traces import trace_call, trace_end
from openfall.workers.execution.json_schema import import_library
from openfall.workers.execution.model_call import ModelCaller
from openfall.workers.execution.progress_events import OnProgress
from openfall.workers.execution.results import default_fallback_result, final_result, get_substitution
from openfall.workers.execution.retry_budget import RetryBudget
from openfall.workers.slots_in_shortage import WorkerShortage


class Executor(Protocol):
    """Executes deliveries. The worker loop depends on nothing else of it."""

    async def execute(
        self,
        delivery: Delivery,
        clock: Callable[[], float],
        on_pieces: OnPieces,
        on_progress: OnProgress | None,
    ) -> DeliveryOutcome:
        """Execute one delivery. `clock` is the server's, in epoch seconds. Raises `WorkerShortage`."""
        ...

    def on_cancelled(self, delivery: Delivery, now: float, *, by_command: bool) -> DeliveryOutcome:
        """The outcome of a delivery that was cancelled: by a command, or because the worker stops."""
        ...

    def on_error(self, delivery: Delivery, reason: str, now: float) -> DeliveryOutcome:
        """The outcome of a delivery whose execution raised an exception."""
        ...


class JobExecutor:
    """Executes deliveries of models' queues. `fleet_state` returns the cached fleet as a job of an urgency sees it;
    `jitter` in [0, 1] spreads the time for which breakers open; `on_answer` is called with the backend and the model
    of each answer."""

    def __init__(
        self,
        catalog: Catalog,
        clients: Clients,
        fleet_state: Callable[[Urgency], FleetState] = lambda urgency: FleetState(),
        jitter: Callable[[], float] = lambda: 0.5,
        on_answer: Callable[[str, str], None] = lambda backend, model: None,
    ) -> None:
        self._catalog, self._fleet_state = catalog, fleet_state
        self._caller = ModelCaller(catalog, clients)
        self._reporter, self._log = CallReporter(catalog, jitter), DeliveryLog(catalog)
        self._on_answer = on_answer
        self._retry_budget = RetryBudget(catalog.retry.retry_budget)
        if any(map(uses_schemas, (*catalog.roles.values(), *catalog.tasks.values()))):
            import_library()
        self._slow_checks = ThreadPoolExecutor(2, "check")  # threads that wait for a process

    async def execute(
        self,
        delivery: Delivery,
        clock: Callable[[], float],
        on_pieces: OnPieces,
        on_progress: OnProgress | None,
    ) -> DeliveryOutcome:
        """Make at most one call. Raises `WorkerShortage` if this process could not make it."""
        try:
            state = read_state(delivery, clock())
        except UnreadableEnvelope as error:
            return DeliveryOutcome(next_step=Fall(HoldReason.UNREADABLE, str(error)))
        job, attempts = state.job, state.attempts
        conditions = self._conditions(state)
        step = self._first_step(state, conditions)
        if not isinstance(step, Call):
            return self._conclude(step, state, None)
        called = await self._caller.call(step, state, on_pieces, on_progress)
        if isinstance(called.answer, Failure) and called.answer.error_class is ErrorClass.WORKER_LIMIT:
            raise WorkerShortage(called.answer.detail)
        if isinstance(called.answer, Completion):
            self._on_answer(delivery.backend, step.model)
        ended_at = clock()
        outcome = called.answer if step.is_judging else await self._check(called.answer, job)
        finished = FinishedCall(step=step, called=called, outcome=outcome, started_at=state.now, ended_at=ended_at)
        report = self._reporter.report(state, finished, conditions.fleet)
        state = replace(state, attempts=(*attempts, report.attempt), now=finished.ended_at)
        if isinstance(outcome, Failure):
            may_retry = self._retry_budget.may_retry(state.now)
            conditions = replace(self._conditions(state), may_retry=may_retry)  # the fleet may have changed since
        next_step = conclude(job, self._catalog, state.attempts, outcome, conditions)
        self._count_against_budget(state.attempts, next_step, state.now)
        return self._conclude(next_step, state, report, outcome)

    async def _check(self, answer: Outcome, job: CompletionJob) -> Outcome:
        """The outcome after the checks of the job's role. Those that take long run outside of the event loop."""

        def check(validates: Validates) -> Outcome:
            return check_answer(answer, job, self._catalog, validates)

        try:
            return check_briefly(check)
        except SlowCheck:
            loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._slow_checks, check_at_length, check)
        except UnfinishedCheck as unfinished:
            return Failure(error_class=ErrorClass.INVALID_OUTPUT, detail=str(unfinished))

    def _first_step(self, state: DeliveryState, conditions: Conditions) -> Step:
        """What to do with a job that was claimed. No call is made for which the claim has reserved nothing."""
        step = decide(state.job, self._catalog, state.attempts, self._as_claimed(conditions), state.now)
        over = state.delivery.over
        return Fall(HoldReason.BUDGET, over.message, over) if isinstance(step, Call) and over is not None else step

    def _count_against_budget(self, attempts: Sequence[Attempt], next_step: Step, now: float) -> None:
        """Count the call that has just ended, if it was the first of its model, and the retry that follows it."""
        *earlier, last = attempts
        if last.model not in {attempt.model for attempt in earlier}:
            self._retry_budget.note_call(now)
        if is_retry(next_step, attempts):
            self._retry_budget.note_retry(now)

    def on_cancelled(self, delivery: Delivery, now: float, *, by_command: bool) -> DeliveryOutcome:
        """A command ends the job as cancelled; otherwise the job is put back unchanged."""
        if not by_command:
            return DeliveryOutcome(next_step=None, cut=True)
        took = round(now - delivery.accepted_at, 4)
        attempts = unpack_attempts(delivery.attempts)
        return DeliveryOutcome(
            next_step=Result(
                id=delivery.id, status=Status.CANCELLED, attempts=attempts, error=ErrorClass.CANCELLED,
                detail="stopped by an rq command", took=took,
            ),
            cut=True,
        )  # fmt: skip

    def on_error(self, delivery: Delivery, reason: str, now: float) -> DeliveryOutcome:
        """After a bug in openfall the job falls: it is not lost, and not tried again."""
        return DeliveryOutcome(next_step=Fall(HoldReason.POISONED, reason), cut=True)

    def _conditions(self, state: DeliveryState) -> Conditions:
        delivery, job = state.delivery, state.job
        return Conditions(
            current_model=delivery.model, jitter=job_jitter(job.id), fleet=self._fleet_state(job.urgency),
            answers=state.answers, default_fallback=delivery.fall is not None, replied=delivery.replied,
            over=delivery.over, refusal=state.refusal,
        )  # fmt: skip

    def _as_claimed(self, conditions: Conditions) -> Conditions:
        """Correct the cached fleet by what the claim proves: the model takes calls now, and if it is not local, the
        local-only switch is off."""
        fleet = conditions.fleet.unblocked(conditions.current_model)
        if fleet.local_only and not self._catalog.is_local(conditions.current_model):
            fleet = replace(fleet, local_only=False)  # else a job that waited for the switch would be held by it
        return conditions if fleet is conditions.fleet else replace(conditions, fleet=fleet)

    def _conclude(
        self, step: Step, state: DeliveryState, report: CallReport | None, answer: Outcome | None = None
    ) -> DeliveryOutcome:
        """The outcome of a delivery, after a line in the log."""
        outcome = self._build_outcome(step, state, report, answer)
        self._log.write(state.job, state.attempts, outcome)
        if report is not None:
            trace_call(state.job, self._catalog, report.attempt, answer)
        trace_end(state.job, outcome.next_step)
        fall = state.delivery.fall
        return outcome.counted(state.job, state.delivery.model, None if fall is None else fall.reason)

    def _build_outcome(
        self, step: Step, state: DeliveryState, report: CallReport | None, outcome: Outcome | None
    ) -> DeliveryOutcome:
        match step:
            case Done():
                return self._finish(step, state, report)
            case Handoff(model=model) | Later(model=model):
                queue = self._catalog.queue(model, state.job.urgency)
                return DeliveryOutcome(next_step=step, call=report, to_queue=queue, answer=_pack_kept(report, outcome))
            case Fall():
                return DeliveryOutcome(next_step=step, call=report, answer=_pack_kept(report, outcome))
            case Call():
                raise RuntimeError("conclude() returned a call: a model that has just failed is never due at once")

    def _finish(self, done: Done, state: DeliveryState, report: CallReport | None) -> DeliveryOutcome:
        """End the job. A good answer is remembered if a later job with the same request may get it."""
        job, fall = state.job, state.delivery.fall
        result = final_result(job, self._catalog, state.attempts, done, state.now)
        if fall is not None:
            result = default_fallback_result(result, fall.detail)
        remember = None
        if (
            result.status is Status.ANSWERED
            and not result.refused
            and Remedy.LAST_ANSWER in allowed_remedies(job, self._catalog)
        ):
            remember = (request_key(job), self._catalog.open_fall.last_answer_ttl)
        substitution = get_substitution(job, self._catalog, state.attempts, done)
        return DeliveryOutcome(next_step=result, call=report, substitution=substitution, remember_answer=remember)


def job_jitter(job_id: str) -> float:
    """A constant in [0, 1] for each job: jobs that failed together are retried apart, and each is due at one time."""
    return crc32(job_id.encode()) / 2**32


def _pack_kept(report: CallReport | None, outcome: Outcome | None) -> bytes:
    """What is stored with a job that goes on: the answer of an ensemble's model, or a refusal."""
    if report is None or outcome is None:
        return b""
    if isinstance(outcome, Completion):
        return pack_answer(Answer(report.attempt.model, report.attempt.backend, outcome))
    refusal = refusal_of(report.attempt, outcome)
    return b"" if refusal is None else pack_answer(refusal)
