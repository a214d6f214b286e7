"""Health prompts: the one call that may go to a model whose breaker is open."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from router_core.catalog import Catalog
from router_core.marks import breaker_mark, cooldown, credential_mark
from router_core.outcome import BreakerMark, CredentialMark, Failure, Outcome
from router_core.state import breakers
from router_core.state.claims import Probe
from router_core.state.errors import StoreError
from router_core.state.link import Link
from workers.backends import health
from workers.backends.base import CompletionBackend

log = logging.getLogger("openfall.probing")

ASK_AGAIN = 5.0
"""Seconds until a key is probed again after a probe that said nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prober:
    """Sends the probes that claims hand out, and tells the breakers what came of them."""

    link: Link
    catalog: Catalog
    backends: Mapping[str, CompletionBackend]
    chance: Callable[[], float]

    async def carry_out(self, probe: Probe) -> None:
        """Ask the health prompt once. A worker that dies here loses the probe's lease, and another worker asks."""
        spec = self.catalog.models[probe.model]
        outcome = await health.probe(self.backends[probe.backend], spec)
        told = probed(probe, outcome, self.chance())
        try:
            state = await breakers.report(self.link, probe, told, self.catalog.breakers)
        except StoreError as error:
            log.warning("probe of %s: %s; it will be sent again", probe.target, error)
            return
        log.info("probe of %s: %s%s; its breaker is %s", probe.target, told.mark, told.why and f" ({told.why})", state)


def probed(probe: Probe, outcome: Outcome, chance: float) -> breakers.Probed:
    """What a probe says of the breaker that it was sent for.

    To a key it says whether the provider took it: any answer but a refusal of it does, and a provider that was not
    reached, or is in trouble, says nothing. To a model it says what a call would; a refused key fails it too, for there
    may be no breaker of a key that could keep calls away.
    """
    failure = outcome if isinstance(outcome, Failure) else None
    error = failure.error_class if failure else None
    refused = credential_mark(error) is CredentialMark.PARK
    why = f"{failure.error_class}: {failure.detail}" if failure else ""
    if probe.target.startswith("key:"):
        if breaker_mark(error, 0.0, None) is BreakerMark.FAILURE:
            return breakers.Probed(BreakerMark.NEUTRAL, why, ASK_AGAIN, chance)
        return breakers.Probed(BreakerMark.FAILURE if refused else BreakerMark.OK, why, 0.0, chance)
    mark = BreakerMark.FAILURE if refused else breaker_mark(error, 0.0, None)
    return breakers.Probed(mark, why, cooldown(error, failure.retry_after if failure else None), chance)
