"""Calls that a producer makes by itself, beside the queue: which epochs they begin in, and what came of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from router_core.breaker import credential_target, target
from router_core.catalog import Catalog
from router_core.marks import breaker_mark, cooldown, credential_mark
from router_core.money import Usage, cost
from router_core.outcome import Attempt, BreakerMark, CredentialMark, ErrorClass
from router_core.state import keys
from router_core.state.link import Link
from router_core.state.settling import Call, bucket_of, call_words, rules_of


@dataclass(frozen=True, slots=True)
class Epochs:
    """Those of the breakers of a model at a backend and of the backend's key, when a call began."""

    model: str = "0"
    key: str = "0"


async def epochs(link: Link, catalog: Catalog, backend: str, model: str) -> Epochs:
    """The epochs in which a call that begins now will be judged."""
    credential = catalog.credential(backend)
    names = (target(backend, model), credential_target(credential))
    told = await asyncio.gather(*(link.command("HGET", keys.BREAKER + name, "epoch") for name in names))
    return Epochs(*((epoch or b"0").decode() for epoch in told))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """A call of a model at a backend, and what came of it. `error` None: it answered, after `took` seconds.

    `group` is the catalog's name of whose call it was; `retry_after` (seconds) is what a 429 asked for; `chance` in
    [0, 1] spreads the time for which a breaker opens.
    """

    model: str
    backend: str
    epochs: Epochs = Epochs()
    error: ErrorClass | None = None
    took: float = 0.0
    retry_after: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    group: str | None = None
    chance: float = 0.5


async def report(link: Link, catalog: Catalog, made: Reported) -> bool:
    """Tell the breakers and the ledger of a call. True when this opened a breaker.

    A call that began before the breaker last changed tells the breaker nothing; the ledger counts it all the same.
    """
    words = call_words(_call(catalog, made), bucket_of(catalog.breakers))
    reply = await link.script("report", words, rules_of(catalog.breakers))
    return bool(reply[0])


def _call(catalog: Catalog, made: Reported) -> Call:
    spec, credential = catalog.model(made.model), catalog.credential(made.backend)
    key_mark = credential_mark(made.error)
    parks = key_mark is CredentialMark.PARK and not credential  # no key that could be parked
    mark = BreakerMark.TRIP if parks else breaker_mark(made.error, made.took, spec.slow_after)
    return Call(
        attempt=_attempt(catalog, made),
        group=made.group,
        mark=mark,
        epoch=made.epochs.model,
        credential=credential,
        credential_mark=key_mark,
        credential_epoch=made.epochs.key,
        repeated=False,
        wait=cooldown(made.error, made.retry_after),
        chance=made.chance,
    )


def _attempt(catalog: Catalog, made: Reported) -> Attempt:
    usage = Usage(input_tokens=made.input_tokens, output_tokens=made.output_tokens, error=made.error)
    return Attempt(
        model=made.model,
        backend=made.backend,
        started_at=0.0,
        ended_at=made.took,
        error=made.error,
        input_tokens=made.input_tokens,
        output_tokens=made.output_tokens,
        cost_usd=cost(catalog.models[made.model].usd_per_mtok, catalog.billing(made.backend), usage),
    )
