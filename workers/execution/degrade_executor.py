"""The degrade worker's part: what becomes of each job that fell, in one settle: degrade, log, notify, hold."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pydantic_core import to_json

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.degrading.degrade import (
    DegradeAction,
    Degraded,
    FallContext,
    Hold,
    StandIn,
    allowed_remedies,
    degrade,
)
from openfall.router_core.degrading.fall_record import fall_record, unread_record
from openfall.router_core.jobs.envelope import (
    UnreadableEnvelope,
    request_key,
    unpack_attempts,
    unpack_job,
)
from openfall.router_core.jobs.job import (
    CompletionJob,
)
from openfall.router_core.jobs.outcome import Completion
from openfall.router_core.jobs.result import Result
from openfall.router_core.routing.fleet_state import (
    FleetState,
)
from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.vocabulary import (
    HoldReason,
    Remedy,
    Urgency,
)
from openfall.workers.backends.base import OnDelta
from openfall.workers.execution.results import degraded_result, interim_result, unread_result

log = logging.getLogger("openfall.open_fall")


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradeExecutor:
    """Carries out deliveries of the `degrade` queue. It never calls a model.

    `fleet` tells what was seen of the fleet since a moment (epoch seconds), `last_result` the last good result under a
    request's key; `notify` names who is to be told of incidents.
    """

    catalog: Catalog
    fleet: Callable[[Urgency, float], Awaitable[FleetState]]
    last_result: Callable[[str], Awaitable[Result | None]]
    notify: Sequence[str] = ()

    async def carry_out(
        self, delivery: Delivery, clock: Callable[[], float], on_delta: OnDelta | None
    ) -> DeliveryOutcome:
        """What becomes of one job that fell. `clock` is the server's, in epoch seconds."""
        fell = delivery.fall
        assert fell is not None, "what is in `degrade` has fallen"
        try:
            job = unpack_job(delivery.envelope, delivery.deadline, delivery.accepted_at)
            attempts = unpack_attempts(delivery.attempts)
        except UnreadableEnvelope as error:
            return self._held_unread(delivery, Hold(reason=HoldReason.UNREADABLE, detail=str(error)), clock())
        fallen = FallContext(
            reason=fell.reason, detail=fell.detail, at=fell.at, attempts=attempts, falls=fell.falls,
            strikes=fell.strikes, stand_in=fell.stand_in or None, remembered=await self._remembered(job),
        )  # fmt: skip
        fleet, now = await self.fleet(job.urgency, fell.at), clock()
        landing = degrade(job, self.catalog, fallen, fleet, now)
        record = fall_record(job, fallen, landing, fleet, now)
        _tell(record)
        return self._ending(job, fallen, landing, self._packed(record), now)

    def failed(self, delivery: Delivery, why: str, now: float) -> DeliveryOutcome:
        """A bug of ours: the job is held, and its caller told no more than that."""
        return self._held_unread(delivery, Hold(reason=HoldReason.POISONED, detail=why), now)

    def interrupted(self, delivery: Delivery, now: float, *, by_command: bool) -> DeliveryOutcome:
        """Stopped before it was decided: put back untouched. Nobody is called, so there is no call to stop."""
        return DeliveryOutcome(next_step=None)

    def _ending(
        self, job: CompletionJob, fallen: FallContext, landing: DegradeAction, record: bytes, now: float
    ) -> DeliveryOutcome:
        match landing:
            case StandIn(model=model):
                return DeliveryOutcome(
                    next_step=landing, to_queue=self.catalog.queue(model, job.urgency), fall_record=record
                )
            case Hold():
                return DeliveryOutcome(
                    next_step=landing,
                    interim_reply=interim_result(job, fallen.attempts, landing, now),
                    fall_record=record,
                )
            case Degraded():
                return DeliveryOutcome(
                    next_step=degraded_result(job, fallen.attempts, landing, now), fall_record=record
                )

    async def _remembered(self, job: CompletionJob) -> Completion | None:
        if Remedy.LAST_ANSWER not in allowed_remedies(job, self.catalog):
            return None
        last = await self.last_result(request_key(job))
        if last is None or last.body is None:
            return None
        return Completion(text=last.text, finish_reason=last.finish_reason or "", body=last.body)

    def _held_unread(self, delivery: Delivery, hold: Hold, now: float) -> DeliveryOutcome:
        """Hold a job whose request cannot be read: what can be told of it is what its record has."""
        assert delivery.fall is not None
        record = unread_record(delivery.id, hold, delivery.fall.at)
        _tell(record)
        took = round(now - delivery.accepted_at, 4)
        return DeliveryOutcome(
            next_step=hold, interim_reply=unread_result(delivery.id, hold, took), fall_record=self._packed(record)
        )

    def _packed(self, record: dict[str, object]) -> bytes:
        return to_json({**record, "notify": list(self.notify)})


def _tell(record: dict[str, object]) -> None:
    log.warning("fell: %s", to_json(record).decode())
