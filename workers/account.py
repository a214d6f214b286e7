"""What a call comes to: an attempt for the job's history, a mark for the breakers, a line for the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from router_core.candidates import is_judging
from router_core.catalog import Catalog
from router_core.job import CompletionJob
from router_core.money import cost, usage_of
from router_core.outcome import DISPOSITIONS, Attempt, BreakerMark, Completion, CredentialMark, Failure, Outcome
from router_core.state.delivery import Delivery
from router_core.state.settling import Call

COOLDOWN = 5.0
"""Seconds for which everybody waits after a 429 that does not say for how long."""
LONGEST_COOLDOWN = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A call that was made. `answer` is what the backend said, `outcome` what that is worth (a check may have refused
    it). Epoch seconds on the server's clock."""

    model: str
    why: str
    answer: Outcome
    outcome: Outcome
    started_at: float
    ended_at: float


def attempt_of(made: Made, catalog: Catalog, backend: str) -> Attempt:
    """The row of the job's history."""
    outcome, answer = made.outcome, made.answer
    failure = outcome if isinstance(outcome, Failure) else None
    told = answer if isinstance(answer, Completion) else None
    usage = usage_of(answer, failure.error_class if failure else None)
    return Attempt(
        model=made.model,
        backend=backend,
        started_at=made.started_at,
        ended_at=made.ended_at,
        error=failure.error_class if failure else None,
        detail=failure.detail if failure else "",
        retry_after=failure.retry_after if failure else None,
        input_tokens=told.input_tokens if told else None,
        output_tokens=told.output_tokens if told else None,
        cost_usd=cost(catalog.models[made.model].usd_per_mtok, catalog.billing(backend), usage),
        why=made.why,
    )


def mark_of(outcome: Outcome, took: float, slow_after: float | None) -> BreakerMark:
    """What the breaker of the model hears. A refused answer (`invalid_output`) is no fault of the endpoint."""
    if isinstance(outcome, Failure):
        return DISPOSITIONS[outcome.error_class].breaker
    return BreakerMark.SLOW if slow_after is not None and took > slow_after else BreakerMark.OK


def credential_mark_of(outcome: Outcome) -> CredentialMark:
    """What the key hears that the call was made with."""
    return DISPOSITIONS[outcome.error_class].credential if isinstance(outcome, Failure) else CredentialMark.FINE


def wait_of(outcome: Outcome) -> float:
    """Seconds for which everybody should leave the model alone after this; 0: there is no need."""
    if credential_mark_of(outcome) is not CredentialMark.COOLDOWN or not isinstance(outcome, Failure):
        return 0.0
    return min(LONGEST_COOLDOWN, COOLDOWN if outcome.retry_after is None else outcome.retry_after)


@dataclass(frozen=True, slots=True)
class Accountant:
    """Turns what a backend said into what breakers and ledger hear. `chance` in [0, 1] spreads open times."""

    catalog: Catalog

    def call(
        self, job: CompletionJob, delivery: Delivery, attempts: Sequence[Attempt], made: Made, chance: float
    ) -> Call:
        """The call as it goes with its settle; `attempts` are those before it."""
        spec = self.catalog.models[made.model]
        credential = self.catalog.credential(delivery.backend)
        mark = mark_of(made.outcome, made.ended_at - made.started_at, spec.slow_after)
        parks = credential_mark_of(made.outcome) is CredentialMark.PARK
        return Call(
            attempt=attempt_of(made, self.catalog, delivery.backend),
            group=job.group,
            mark=BreakerMark.TRIP if parks and not credential else mark,  # no key that could be parked
            epoch=delivery.epoch,
            credential=credential,
            credential_mark=credential_mark_of(made.outcome),
            credential_epoch=delivery.credential_epoch,
            repeated=any(one.model == made.model and not is_judging(one) for one in attempts),
            wait=wait_of(made.outcome),
            chance=chance,
        )
