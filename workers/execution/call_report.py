"""What a call comes to: an attempt for the job's history, a mark for the breakers, a line for the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.deciding.breaker import (
    call_signal,
    cooldown,
    credential_signal,
)
from openfall.router_core.deciding.candidates import is_judging
from openfall.router_core.deciding.cost import cost, read_usage
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import (
    Attempt,
    Completion,
    Failure,
    Outcome,
)
from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.settlement import CallReport
from openfall.router_core.vocabulary import (
    CallSignal,
    CredentialSignal,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedCall:
    """A call that was made. `answer` is what the backend said, `outcome` what that is worth (a check may have refused
    it). Epoch seconds on the server's clock."""

    model: str
    why: str
    answer: Outcome
    outcome: Outcome
    started_at: float
    ended_at: float


class CallReporter:
    """Turns what a backend said into what the job's history, the breakers and the ledger hear of it."""

    def __init__(self, catalog: Catalog) -> None:
        self._models = catalog.models
        self._credentials = {backend: catalog.credential(backend) for backend in catalog.backends}
        self._billing = {backend: catalog.billing(backend) for backend in catalog.backends}

    def call(
        self, job: CompletionJob, delivery: Delivery, attempts: Sequence[Attempt], made: FinishedCall, chance: float
    ) -> CallReport:
        """The call as it goes with its settle, after `attempts`. `chance` in [0, 1] spreads open times."""
        credential = self._credentials[delivery.backend]
        attempt = self._attempt(made, delivery.backend)
        mark = call_signal(attempt.error, made.ended_at - made.started_at, self._models[made.model].slow_after)
        key_mark = credential_signal(attempt.error)
        parks = key_mark is CredentialSignal.PARK
        return CallReport(
            attempt=attempt,
            group=job.group,
            signal=CallSignal.TRIP if parks and not credential else mark,  # no key that could be parked
            epoch=delivery.epoch,
            credential=credential,
            credential_signal=key_mark,
            credential_epoch=delivery.credential_epoch,
            is_retry=any(one.model == made.model and not is_judging(one) for one in attempts),
            cooldown_seconds=cooldown(attempt.error, attempt.retry_after),
            jitter=chance,
        )

    def _attempt(self, made: FinishedCall, backend: str) -> Attempt:
        """The row of the job's history."""
        outcome, answer = made.outcome, made.answer
        failure = outcome if isinstance(outcome, Failure) else None
        told = answer if isinstance(answer, Completion) else None
        usage = read_usage(answer, failure.error_class if failure else None)
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
            cost_usd=cost(self._models[made.model].usd_per_mtok, self._billing[backend], usage),
            why=made.why,
        )
