"""The state of a delivery that decisions depend on: the claimed job, and what its models have answered so far."""

from __future__ import annotations

from dataclasses import dataclass

from openfall.router_core.jobs.envelope import unpack_answers, unpack_attempts, unpack_job
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Answer, Attempt
from openfall.router_core.state.claims import Delivery


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """The job of a delivery, the attempts and ensemble answers so far, the last refusal of a model, and the time."""

    job: CompletionJob
    delivery: Delivery
    attempts: tuple[Attempt, ...]
    answers: tuple[Answer, ...]
    refusal: Answer | None
    now: float


def read_state(delivery: Delivery, now: float) -> DeliveryState:
    """The state of a delivery that was just claimed. Raises `UnreadableEnvelope`."""
    job = unpack_job(delivery.envelope, delivery.deadline, delivery.accepted_at)
    answers, refusal = unpack_answers(delivery.answers)
    return DeliveryState(job, delivery, unpack_attempts(delivery.attempts), answers, refusal, now)
