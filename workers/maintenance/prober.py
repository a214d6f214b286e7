"""Sends probes: the only calls that go to a model whose breaker is open.

A probe is the health prompt, but it never loads a model on a machine of the owner: that may unload a model that others
use, and nothing needs the answer. For a model that is not in memory it checks that the endpoint answers and lists the
model. That closes the breaker on trial: the first job that wants the model loads it, and if that call fails, the
breaker opens again, for longer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.deciding.call_signals import call_signal, credential_signal
from openfall.router_core.deciding.cost import call_cost
from openfall.router_core.deciding.rate_limit_cooldown import cooldown
from openfall.router_core.deciding.subscription_limits import PlanReport, plan_report
from openfall.router_core.jobs.outcome import Attempt, Failure, Outcome
from openfall.router_core.state import breakers
from openfall.router_core.state.claims import Probe
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.settlement import CallReport
from openfall.router_core.state.subscription_plans import report_plan_shares
from openfall.router_core.vocabulary import CallSignal, CredentialSignal, ErrorClass, LimitScope
from openfall.workers.backends import health_check
from openfall.workers.backends.registry import Clients
from openfall.workers.backends.stall_watch import CallWatch

log = logging.getLogger("openfall.probing")

NOT_IN_MEMORY = "its endpoint answers and lists it; it is not in memory, so its next call is its trial"

KEY_RETRY_SECONDS = 5.0
"""Delay before the next probe of a key, after a probe that shows nothing about the key."""


REFUSALS_OF_A_PROMPT = frozenset({
    ErrorClass.BAD_REQUEST, ErrorClass.UNSUPPORTED, ErrorClass.CONTENT_FILTER, ErrorClass.CONTEXT_OVERFLOW,
    ErrorClass.INVALID_OUTPUT,
})  # fmt: skip
"""What depends on the prompt and not on the model. Such a response shows that the model is reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prober:
    """Sends the probes that claims hand out, and reports the results to the breakers. `jitter` is in [0, 1]."""

    link: RedisConnection
    catalog: Catalog
    clients: Clients
    jitter: Callable[[], float]

    async def probe(self, probe: Probe) -> None:
        """Probe once. If this worker dies, the lease of the probe ends and another worker sends it."""
        spec, client = self.catalog.models[probe.model], self.clients[probe.backend, probe.credential]
        began, watch = time.monotonic(), CallWatch(health_check.probe_timeout(spec))
        is_local = self.catalog.billing(probe.backend) is Billing.LOCAL
        if is_local or self.catalog.card_of(probe.backend):  # the manager of a card decides what it loads
            outcome = await health_check.probe_without_load(client, spec, watch)
        else:
            outcome = await health_check.probe(client, spec, watch)
        has_other_key = len(self.catalog.backends[probe.backend].secrets) > 1
        result = evaluate_probe(probe, outcome, self.jitter(), has_other_key=has_other_key)
        if (plan := self._plan(probe, outcome)) is not None:
            signal = CallSignal.FAILURE if probe.target.startswith("key:") else result.signal
            result = replace(result, plan=plan, signal=signal)
        call = self._paid_call(probe, outcome, seconds=time.monotonic() - began)
        try:
            state = await breakers.report_probe(self.link, probe, result, self.catalog.breakers, call)
            called = probe.backend, probe.model, probe.credential
            await report_plan_shares(self.link, self.catalog, called, watch.plan_shares)
        except StoreError as error:
            log.warning("%s: probe not reported: %s; it is sent again", probe.target, error)
            return
        detail = result.detail and f" ({result.detail})"
        fields = {"model": probe.model, "backend": probe.backend}
        log.info("%s: probe: %s%s; breaker: %s", probe.target, result.signal, detail, state, extra=fields)

    def _plan(self, probe: Probe, outcome: Outcome | None) -> PlanReport | None:
        """What a refused probe says of the limits of a subscription; None: nothing. A limit of the model alone shows
        that the key is accepted. The target of the probe has been refused before, so any other limit is its own."""
        if not isinstance(outcome, Failure) or self.catalog.billing(probe.backend) is not Billing.FLAT:
            return None
        report = plan_report(self.catalog.backends[probe.backend].plan_windows, outcome)
        is_its_own = report.is_out and report.scope is not LimitScope.MODEL
        return replace(report, scope=LimitScope.KEY) if is_its_own else None

    def _paid_call(self, probe: Probe, outcome: Outcome | None, *, seconds: float) -> CallReport | None:
        """The call of a metered model, for the ledger. None: the probe was not paid for."""
        if outcome is None or not self.catalog.is_metered(probe.backend):
            return None
        error = outcome.error_class if isinstance(outcome, Failure) else None
        prices = self.catalog.models[probe.model].usd_per_mtok
        attempt = Attempt(
            model=probe.model,
            backend=probe.backend,
            started_at=0.0,
            ended_at=seconds,
            error=error,
            input_tokens=outcome.usage.input_tokens,
            output_tokens=outcome.usage.output_tokens,
            cost_nusd=call_cost(prices, Billing.METERED, outcome, error),
        )
        return CallReport(
            attempt=attempt, group=None, signal=CallSignal.NEUTRAL, epoch="0", credential="",
            credential_signal=CredentialSignal.FINE, credential_epoch="0", cooldown_seconds=0.0, jitter=0.0,
        )  # fmt: skip


def evaluate_probe(
    probe: Probe, outcome: Outcome | None, jitter: float, *, has_other_key: bool = False
) -> breakers.ProbeResult:
    """What a probe shows about the breaker that it was sent for. None: the model is not in memory, and listed.

    For a key: any answer but a refusal shows that the provider accepts it; a provider that cannot be reached, or has an
    internal problem, shows nothing. For a model: the same as a call, and a model that refuses this one prompt answers.
    A refused key fails the model's probe too: without a breaker for the key nothing else would keep calls away. If the
    backend has another key, it shows nothing about the model, and the next probe uses the next key.
    """
    if outcome is None:
        on_trial = not probe.target.startswith("key:")
        return breakers.ProbeResult(CallSignal.OK, NOT_IN_MEMORY, 0.0, jitter, on_trial=on_trial)
    failure = outcome if isinstance(outcome, Failure) else None
    error = failure.error_class if failure else None
    refused = credential_signal(error) is CredentialSignal.PARK
    if error is ErrorClass.WORKER_LIMIT and failure is not None:  # this worker could not send it
        return breakers.ProbeResult(CallSignal.NEUTRAL, failure.detail, KEY_RETRY_SECONDS, jitter)
    detail = f"{failure.error_class}: {failure.detail}" if failure else ""
    cause = (error, failure.http_status, failure.cause) if failure else (None, None, "")
    if probe.target.startswith("key:"):
        if call_signal(error, 0.0, None) is CallSignal.FAILURE:
            return breakers.ProbeResult(CallSignal.NEUTRAL, detail, KEY_RETRY_SECONDS, jitter, *cause)
        return breakers.ProbeResult(CallSignal.FAILURE if refused else CallSignal.OK, detail, 0.0, jitter, *cause)
    if refused and has_other_key:
        return breakers.ProbeResult(CallSignal.NEUTRAL, detail, KEY_RETRY_SECONDS, jitter, *cause)
    signal = CallSignal.FAILURE if refused else call_signal(error, 0.0, None)
    signal = CallSignal.OK if error in REFUSALS_OF_A_PROMPT else signal
    wait = cooldown(error, failure.retry_after if failure else None)
    return breakers.ProbeResult(signal, detail, wait, jitter, *cause)
