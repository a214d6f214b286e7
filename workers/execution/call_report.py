"""Builds the report of a finished call: an attempt for the job, signals for breakers, a line for the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.deciding.call_signals import (
    breaker_signal,
    credential_signal,
    is_error_of_one_request,
    is_slow,
)
from openfall.router_core.deciding.cost import call_cost
from openfall.router_core.deciding.rate_limit_cooldown import cooldown
from openfall.router_core.deciding.savings import NONE_SAVED, Savings, call_savings
from openfall.router_core.deciding.service_tier import is_tier_refusal, tier_signals
from openfall.router_core.deciding.steps import Call
from openfall.router_core.deciding.subscription_limits import PlanReport, plan_report
from openfall.router_core.deciding.unexpected_spend import unexpected_call
from openfall.router_core.jobs.outcome import Attempt, Completion, Failure, Outcome
from openfall.router_core.jobs.token_usage import Usage
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.state.call_money import CallMoney
from openfall.router_core.state.settlement import CallReport
from openfall.router_core.vocabulary import CallSignal
from openfall.workers.execution.delivery_state import DeliveryState
from openfall.workers.execution.model_call import CallResult


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedCall:
    """A call that has ended. `step` asked for it, `called` has the outcome of the backend, `outcome` that after the
    checks. Times are epoch seconds on the server's clock."""

    step: Call
    called: CallResult
    outcome: Outcome
    started_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class CallReporter:
    """Builds the reports of one executor. `jitter` in [0, 1] spreads the time for which breakers open."""

    catalog: Catalog
    jitter: Callable[[], float]

    def report(self, state: DeliveryState, finished: FinishedCall, fleet: FleetState) -> CallReport:
        """The report of a call that was made after the attempts of `state`."""
        job, delivery = state.job, state.delivery
        attempt = self._build_attempt(finished, delivery.backend)
        seconds = finished.ended_at - finished.started_at
        slow_after = self.catalog.models[attempt.model].slow_after
        signal, key_signal = tier_signals(
            attempt,
            breaker_signal(attempt.error, seconds, slow_after, delivery.credential),
            credential_signal(attempt.error),
        )
        return CallReport(
            attempt=attempt,
            group=job.group,
            role=job.role or job.task,
            producer=job.producer,
            signal=CallSignal.NEUTRAL if is_error_of_one_request(attempt, state.attempts) else signal,
            epoch=delivery.epoch,
            credential=delivery.credential,
            credential_signal=key_signal,
            credential_epoch=delivery.credential_epoch,
            cooldown_seconds=cooldown(attempt.error, attempt.retry_after),
            jitter=self.jitter(),
            one_of_several=len(self.catalog.backends[delivery.backend].secrets) > 1,
            is_slow=is_slow(attempt.error) and not is_tier_refusal(attempt),
            money=self._money(state, attempt, finished, fleet),
            first_token_seconds=finished.called.first_token_after,
        )

    def _money(self, state: DeliveryState, attempt: Attempt, finished: FinishedCall, fleet: FleetState) -> CallMoney:
        chain, usage = state.job.as_configured, finished.called.answer.usage
        return CallMoney(
            usage=usage,
            savings=self._savings(chain, attempt, usage),
            unexpected=unexpected_call(self.catalog, chain, (*state.attempts, attempt), fleet),
            plan=self._plan(attempt, finished),
        )

    def _plan(self, attempt: Attempt, finished: FinishedCall) -> PlanReport | None:
        """What the call says of the limits of a subscription; None: it is paid for in another way."""
        if self.catalog.billing(attempt.backend) is not Billing.FLAT:
            return None
        windows, outcome = self.catalog.backends[attempt.backend].plan_windows, finished.outcome
        report = PlanReport(windows)
        if not is_tier_refusal(attempt):
            report = plan_report(windows, outcome if isinstance(outcome, Failure) else None)
        return replace(report, shares=finished.called.plan_shares)

    def _savings(self, chain: Sequence[str], attempt: Attempt, usage: Usage) -> Savings:
        """What the call saved. A free call without an answer saved nothing: another model answers in its place."""
        if attempt.error is not None and not attempt.cost_nusd:
            return NONE_SAVED
        called = attempt.model, attempt.backend
        return call_savings(self.catalog, chain, called, usage, attempt.cost_nusd)

    def _build_attempt(self, finished: FinishedCall, backend: str) -> Attempt:
        step, outcome, answer = finished.step, finished.outcome, finished.called.answer
        prices = self.catalog.models[step.model].usd_per_mtok
        failure = outcome if isinstance(outcome, Failure) else None
        error = failure.error_class if failure else None
        return Attempt(
            model=step.model,
            backend=backend,
            started_at=finished.started_at,
            ended_at=finished.ended_at,
            error=error,
            detail=failure.detail if failure else "",
            retry_after=failure.retry_after if failure and not step.service_tier else None,
            service_tier=step.service_tier,
            input_tokens=answer.usage.input_tokens,
            output_tokens=answer.usage.output_tokens,
            cost_nusd=call_cost(prices, self.catalog.billing(backend), answer, error),
            why=step.why,
            is_judging=step.is_judging,
            http_status=failure.http_status if failure else None,
            connection_fault=failure.connection_fault if failure else "",
            progressed_at=_progressed_at(finished),
        )


def _progressed_at(finished: FinishedCall) -> float:
    """The moment of the last progress of a call that failed. Nothing depends on that of an answer."""
    if finished.called.progressed_after <= 0 or isinstance(finished.outcome, Completion):
        return 0.0
    return round(finished.started_at + finished.called.progressed_after, 3)
