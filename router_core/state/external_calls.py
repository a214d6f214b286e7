"""Calls that a producer makes by itself, beside the queue: which epochs they begin in, and what came of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.deciding.breaker import (
    breaker_signal,
    breaker_target,
    cooldown,
    credential_signal,
    credential_target,
)
from openfall.router_core.deciding.cost import Usage, cost
from openfall.router_core.jobs.outcome import (
    Attempt,
)
from openfall.router_core.state import keys
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.settlement import (
    CallReport,
    encode_call,
    policy_arguments,
    slot_ms,
)
from openfall.router_core.vocabulary import (
    ErrorClass,
)


@dataclass(frozen=True, slots=True)
class BreakerEpochs:
    """Those of the breakers of a model at a backend and of the backend's key, when a call began."""

    model: str = "0"
    key: str = "0"


async def fetch_epochs(link: RedisConnection, catalog: Catalog, backend: str, model: str) -> BreakerEpochs:
    """The epochs in which a call that begins now will be judged."""
    credential = catalog.credential(backend)
    names = (breaker_target(backend, model), credential_target(credential))
    told = await asyncio.gather(*(link.command("HGET", keys.BREAKER + name, "epoch") for name in names))
    return BreakerEpochs(*((epoch or b"0").decode() for epoch in told))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalCall:
    """A call of a model at a backend, and what came of it. `error` None: it answered, after `took` seconds.

    `group` is the catalog's name of whose call it was; `retry_after` (seconds) is what a 429 asked for; `chance` in
    [0, 1] spreads the time for which a breaker opens.
    """

    model: str
    backend: str
    epochs: BreakerEpochs = BreakerEpochs()
    error: ErrorClass | None = None
    seconds: float = 0.0
    retry_after_seconds: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    group: str | None = None
    jitter: float = 0.5


async def report_external_call(link: RedisConnection, catalog: Catalog, made: ExternalCall) -> bool:
    """Tell the breakers and the ledger of a call. True when this opened a breaker.

    A call that began before the breaker last changed tells the breaker nothing; the ledger counts it all the same.
    """
    arguments = {"call": encode_call(_call(catalog, made), slot_ms(catalog.breakers))}
    reply = await link.script("external_call", arguments, policy_arguments(catalog.breakers))
    return bool(reply[0])


def _call(catalog: Catalog, made: ExternalCall) -> CallReport:
    spec, credential = catalog.model(made.model), catalog.credential(made.backend)
    return CallReport(
        attempt=_attempt(catalog, made),
        group=made.group,
        signal=breaker_signal(made.error, made.seconds, spec.slow_after, credential),
        epoch=made.epochs.model,
        credential=credential,
        credential_signal=credential_signal(made.error),
        credential_epoch=made.epochs.key,
        is_retry=False,
        cooldown_seconds=cooldown(made.error, made.retry_after_seconds),
        jitter=made.jitter,
    )


def _attempt(catalog: Catalog, made: ExternalCall) -> Attempt:
    usage = Usage(input_tokens=made.input_tokens, output_tokens=made.output_tokens, error=made.error)
    return Attempt(
        model=made.model,
        backend=made.backend,
        started_at=0.0,
        ended_at=made.seconds,
        error=made.error,
        input_tokens=made.input_tokens,
        output_tokens=made.output_tokens,
        cost_usd=cost(catalog.models[made.model].usd_per_mtok, catalog.billing(made.backend), usage),
    )
