"""Executes deliveries of the degrade queue: one settlement degrades or holds a fallen job, logs and notifies."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from pydantic_core import to_json

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.accepted_refusals import answer_with
from openfall.router_core.deciding.remedies import allowed_remedies
from openfall.router_core.deciding.steps import Done
from openfall.router_core.degrading.degrade import DefaultFallback, DegradeAction, Degraded, degrade
from openfall.router_core.degrading.fall_record import fall_record, unread_record
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.degrading.judged_fall import FallContext
from openfall.router_core.jobs.envelope import UnreadableEnvelope, unpack_answers, unpack_attempts, unpack_job
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt, Completion, Failure
from openfall.router_core.jobs.request_fingerprint import request_key
from openfall.router_core.jobs.result import Result
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.vocabulary import HoldReason, Remedy, Urgency
from openfall.workers.backends.call_request import OnPieces
from openfall.workers.execution.delivery_log import describe_step
from openfall.workers.execution.job_traces import trace_end
from openfall.workers.execution.progress_events import OnProgress
from openfall.workers.execution.results import (
    degraded_result,
    final_result,
    get_substitution,
    interim_result,
    unreadable_result,
)

log = logging.getLogger("openfall.open_fall")


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradeExecutor:
    """Executes deliveries of the `degrade` queue. It never calls a model.

    `fleet_state` returns the fleet as it was at a time (epoch seconds) or later; `last_result` the last good result for
    a request's key; `notify` lists the notifiers of incidents.
    """

    catalog: Catalog
    fleet_state: Callable[[Urgency, float], Awaitable[FleetState]]
    last_result: Callable[[str], Awaitable[Result | None]]
    notify: Sequence[str] = ()

    async def execute(
        self,
        delivery: Delivery,
        clock: Callable[[], float],
        on_pieces: OnPieces,
        on_progress: OnProgress | None,
    ) -> DeliveryOutcome:
        """Decide about one fallen job. `clock` is the server's, in epoch seconds."""
        fall = _require_fall(delivery)
        if fall.reason is HoldReason.UNREADABLE:  # whatever can be read now: a part of it was lost
            hold = Hold(reason=fall.reason, detail=fall.detail)
            return self._hold_unreadable(delivery, hold, clock())
        try:
            job = unpack_job(delivery.envelope, delivery.deadline, delivery.accepted_at)
            attempts = unpack_attempts(delivery.attempts)
            _, refusal = unpack_answers(delivery.answers)
        except UnreadableEnvelope as error:
            return self._hold_unreadable(delivery, Hold(reason=HoldReason.UNREADABLE, detail=str(error)), clock())
        remembered = await self._last_answer(job)
        context = replace(fall, attempts=attempts, remembered=remembered, replied=delivery.replied)
        fleet, now = await self.fleet_state(job.urgency, fall.at), clock()
        action = degrade(job, self.catalog, context, fleet, now)
        record = fall_record(job, context, action, fleet, now)
        _log_fall(record)
        if isinstance(action, DefaultFallback):
            fields = {"job": job.id, "role": job.role, "why": action.why}
            log.info("%s", describe_step(self.catalog, action), extra=fields)
        packed, done = self._pack_record(record), answer_with(refusal, attempts)
        if done is not None and isinstance(action, Degraded) and isinstance(action.outcome, Failure):
            outcome = self._answer_with_refusal(job, attempts, done, packed, now)
        else:
            outcome = self._build_outcome(job, context, action, packed, now)
        trace_end(job, outcome.next_step)
        return outcome.counted(job, delivery.model, fall.reason)

    def on_error(self, delivery: Delivery, reason: str, now: float) -> DeliveryOutcome:
        """After a bug in openfall: hold the job. Its caller learns only that."""
        return self._hold_unreadable(delivery, Hold(reason=HoldReason.POISONED, detail=reason), now)

    def on_cancelled(self, delivery: Delivery, now: float, *, by_command: bool) -> DeliveryOutcome:
        """Put the job back unchanged. A command stops calls, and there is no call here."""
        return DeliveryOutcome(next_step=None)

    def _build_outcome(
        self, job: CompletionJob, context: FallContext, action: DegradeAction, record: bytes, now: float
    ) -> DeliveryOutcome:
        match action:
            case DefaultFallback(model=model):
                queue = self.catalog.queue(model, job.urgency)
                return DeliveryOutcome(next_step=action, to_queue=queue, fall_record=record)
            case Hold():
                reply = interim_result(job, context.attempts, action, now)
                return DeliveryOutcome(next_step=action, interim_reply=reply, fall_record=record)
            case Degraded():
                result = degraded_result(job, context.attempts, action, now)
                return DeliveryOutcome(next_step=result, fall_record=record)

    def _answer_with_refusal(
        self, job: CompletionJob, attempts: tuple[Attempt, ...], done: Done, record: bytes, now: float
    ) -> DeliveryOutcome:
        return DeliveryOutcome(
            next_step=final_result(job, self.catalog, attempts, done, now),
            fall_record=record,
            substitution=get_substitution(job, self.catalog, attempts, done),
        )

    async def _last_answer(self, job: CompletionJob) -> Completion | None:
        if Remedy.LAST_ANSWER not in allowed_remedies(job, self.catalog):
            return None
        last = await self.last_result(request_key(job))
        if last is None or last.body is None:
            return None
        return Completion(text=last.text, finish_reason=last.finish_reason or "", body=last.body)

    def _hold_unreadable(self, delivery: Delivery, hold: Hold, now: float) -> DeliveryOutcome:
        """Hold a job whose request cannot be read. Only the fields of its record are known."""
        record = unread_record(delivery.id, hold, _require_fall(delivery).at)
        _log_fall(record)
        reply = unreadable_result(delivery.id, hold, round(now - delivery.accepted_at, 4))
        return DeliveryOutcome(next_step=hold, interim_reply=reply, fall_record=self._pack_record(record))

    def _pack_record(self, record: dict[str, object]) -> bytes:
        return to_json({**record, "notify": list(self.notify)})


def _require_fall(delivery: Delivery) -> FallContext:
    if delivery.fall is None:
        raise ValueError(f"{delivery.id}: in the degrade queue without a record of its fall")
    return delivery.fall


def _log_fall(record: dict[str, object]) -> None:
    log.warning("fell: %s", to_json(record).decode(), extra={"job": record["id"]})
