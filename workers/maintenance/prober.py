"""Health prompts: the one call that may go to a model whose breaker is open."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.deciding.breaker import (
    call_signal,
    cooldown,
    credential_signal,
)
from openfall.router_core.jobs.outcome import (
    Failure,
    Outcome,
)
from openfall.router_core.state import breakers
from openfall.router_core.state.claims import Probe
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import (
    CallSignal,
    CredentialSignal,
)
from openfall.workers.backends import health
from openfall.workers.backends.base import CompletionBackend

log = logging.getLogger("openfall.probing")

ASK_AGAIN = 5.0
"""Seconds until a key is probed again after a probe that said nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prober:
    """Sends the probes that claims hand out, and tells the breakers what came of them."""

    link: RedisConnection
    catalog: Catalog
    backends: Mapping[str, CompletionBackend]
    chance: Callable[[], float]

    async def carry_out(self, probe: Probe) -> None:
        """Ask the health prompt once. A worker that dies here loses the probe's lease, and another worker asks."""
        spec = self.catalog.models[probe.model]
        outcome = await health.probe(self.backends[probe.backend], spec)
        told = run_probe(probe, outcome, self.chance())
        try:
            state = await breakers.report_probe(self.link, probe, told, self.catalog.breakers)
        except StoreError as error:
            log.warning("probe of %s: %s; it will be sent again", probe.target, error)
            return
        log.info(
            "probe of %s: %s%s; its breaker is %s",
            probe.target,
            told.signal,
            told.detail and f" ({told.detail})",
            state,
        )


def run_probe(probe: Probe, outcome: Outcome, chance: float) -> breakers.ProbeResult:
    """What a probe says of the breaker that it was sent for.

    To a key it says whether the provider took it: any answer but a refusal of it does, and a provider that was not
    reached, or is in trouble, says nothing. To a model it says what a call would; a refused key fails it too, for there
    may be no breaker of a key that could keep calls away.
    """
    failure = outcome if isinstance(outcome, Failure) else None
    error = failure.error_class if failure else None
    refused = credential_signal(error) is CredentialSignal.PARK
    why = f"{failure.error_class}: {failure.detail}" if failure else ""
    if probe.target.startswith("key:"):
        if call_signal(error, 0.0, None) is CallSignal.FAILURE:
            return breakers.ProbeResult(CallSignal.NEUTRAL, why, ASK_AGAIN, chance)
        return breakers.ProbeResult(CallSignal.FAILURE if refused else CallSignal.OK, why, 0.0, chance)
    mark = CallSignal.FAILURE if refused else call_signal(error, 0.0, None)
    return breakers.ProbeResult(mark, why, cooldown(error, failure.retry_after if failure else None), chance)
