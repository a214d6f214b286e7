"""Calls that a producer makes by itself, beside the queue: their epochs and their reports."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.breaker import (
    breaker_signal,
    breaker_target,
    cooldown,
    credential_signal,
    credential_target,
)
from openfall.router_core.deciding.cost import Usage, cost
from openfall.router_core.deciding.substitution import Substitution
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.state import keys
from openfall.router_core.state.ledger import encode_substitution
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.settlement import CallReport, encode_call, policy_arguments
from openfall.router_core.vocabulary import ErrorClass


@dataclass(frozen=True, slots=True)
class BreakerEpochs:
    """The epochs of the breakers of a model at a backend and of its key, when a call began."""

    model: str = "0"
    key: str = "0"


async def fetch_epochs(link: RedisConnection, catalog: Catalog, backend: str, model: str) -> BreakerEpochs:
    """The epochs for a call that begins now."""
    credential = catalog.credential(backend)
    names = (breaker_target(backend, model), credential_target(credential))
    epochs = await asyncio.gather(*(link.command("HGET", keys.BREAKER + name, "epoch") for name in names))
    return BreakerEpochs(*((epoch or b"0").decode() for epoch in epochs))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalCall:
    """A call of a model at a backend, and its outcome. `error` None: it answered, after `seconds`.

    `substitution`: the answer is given in place of the first choice. `group` is the caller's group in the catalog.
    `retry_after_seconds` is what a 429 asked for. `jitter` in [0, 1]
    spreads the time for which a breaker opens."""

    model: str
    backend: str
    epochs: BreakerEpochs = BreakerEpochs()
    error: ErrorClass | None = None
    seconds: float = 0.0
    retry_after_seconds: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    group: str | None = None
    substitution: Substitution | None = None
    jitter: float = 0.5


async def report_external_call(link: RedisConnection, catalog: Catalog, call: ExternalCall) -> bool:
    """Report a call to the breakers and the ledger. True when this opened a breaker.

    The breaker ignores a call that began before its last change. The ledger counts it all the same.
    """
    arguments = {"call": encode_call(_report(catalog, call))}
    if call.substitution is not None and call.error is None:
        arguments["substitution"] = encode_substitution(call.substitution)
    reply = await link.script("external_call", arguments, policy_arguments(catalog.breakers))
    return bool(reply[0])


def _report(catalog: Catalog, call: ExternalCall) -> CallReport:
    spec, credential = catalog.model(call.model), catalog.credential(call.backend)
    usage = Usage(input_tokens=call.input_tokens, output_tokens=call.output_tokens, error=call.error)
    attempt = Attempt(
        model=call.model,
        backend=call.backend,
        started_at=0.0,
        ended_at=call.seconds,
        error=call.error,
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        cost_usd=cost(spec.usd_per_mtok, catalog.billing(call.backend), usage),
    )
    return CallReport(
        attempt=attempt,
        group=call.group,
        signal=breaker_signal(call.error, call.seconds, spec.slow_after, credential),
        epoch=call.epochs.model,
        credential=credential,
        credential_signal=credential_signal(call.error),
        credential_epoch=call.epochs.key,
        is_retry=False,
        cooldown_seconds=cooldown(call.error, call.retry_after_seconds),
        jitter=call.jitter,
    )
