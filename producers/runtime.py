"""For programs that call models by themselves: which one to call now, and what came of it.

    from openfall import NoModel, resolve_runtime_model

    failed: list[str] = []
    while True:
        try:
            model = resolve_runtime_model(role="ace", failed=failed)
        except NoModel:                      # nothing can be called: the queue waits for what may come back, and holds
            llm.submit(messages, role="ace") #   what nothing can serve
            break
        try:
            answer = my_client(model.url, model.key).complete(model.upstream, messages)
        except Exception as error:
            model.report(error=error)        # openfall's breakers hear of it: the whole fleet leaves a dead model alone
            failed.append(model.model)
            continue
        model.report(input_tokens=answer.usage.input, output_tokens=answer.usage.output)
        break

Only what is in the catalog is ever named, so no call goes out for a model that is not there. Without Redis the catalog
alone decides, and `report` tells nobody. `AsyncOpenfall` and `Openfall` have the same as `resolve` and `report`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, Unpack

from openfall.config import LoadedConfig
from openfall.producers.error_class import error_class
from openfall.producers.fleet_cache import LOOK_WITHIN, fetch_fleet
from openfall.producers.request import urgency_of
from openfall.producers.resolve import Resolved, resolve
from openfall.router_core.jobs.job import Urgency
from openfall.router_core.jobs.outcome import ErrorClass
from openfall.router_core.routing.chain_selection import RouteRequest
from openfall.router_core.routing.requirements import Requirements
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.external_calls import (
    BreakerEpochs,
    ExternalCall,
    fetch_epochs,
    report_external_call,
)
from openfall.router_core.state.redis_connection import RedisConnection


class ResolveOptions(TypedDict, total=False):
    """What may be said of the model that is wanted. `target` is a role, task or model, or `auto`; `failed` are models,
    or backends, not to be named again; `tokens` is a lower bound of the prompt's length; `text` is the prompt, by whose
    words its task is found when nothing else is said."""

    target: str | None
    task: str | None
    model: str | None
    group: str | None
    urgency: Urgency | str | None
    local_only: bool
    failed: Sequence[str]
    tokens: int
    text: str


class CallOutcome(TypedDict, total=False):
    """What came of a call. Nothing said: it answered.

    `error` is an `ErrorClass`, one of its words (`timeout`), any other words, or the exception that was raised;
    `status` is an HTTP status; `latency` is in seconds (default: since the model was resolved); `retry_after` is what
    a 429 asked for, in seconds.
    """

    error: ErrorClass | str | BaseException | None
    status: int | None
    latency: float | None
    retry_after: float | None
    input_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeModel:
    """A model to call now. `upstream` is the name to call it by at `url`, in the wire protocol `protocol`.

    `key` is the backend's, empty when it has none. `max_tokens` and `timeout` (seconds) are the model's own settings.
    `live` False: nothing was known of the fleet, so the catalog alone has decided.
    """

    model: str
    upstream: str
    backend: str
    url: str
    protocol: str
    reason: str
    group: str | None
    timeout: float
    max_tokens: int | None
    live: bool
    key: str = field(repr=False)
    epochs: BreakerEpochs = field(repr=False)
    began: float = field(default_factory=time.monotonic, repr=False, compare=False)
    teller: Callable[[RuntimeModel, CallOutcome], bool] | None = field(default=None, repr=False, compare=False)

    def report(self, **came: Unpack[CallOutcome]) -> bool:
        """Tell what came of the call that this model was named for. False: nobody could be told.

        Of a model that an `AsyncOpenfall` has named: `await llm.report(model, ...)`.
        """
        if self.teller is None:
            raise TypeError("this model was named in an event loop: `await llm.report(model, ...)`")
        return self.teller(self, came)


async def find(loaded: LoadedConfig, link: RedisConnection, role: str | None, wishes: ResolveOptions) -> RuntimeModel:
    """The model to call. Raises `UnknownName`, `NoModel`."""
    catalog = loaded.catalog
    seen = await fetch_fleet(link, catalog)
    found = resolve(catalog, _asked(role, wishes), seen, without=wishes.get("failed", ()), directly=True)
    spec, backend = catalog.models[found.model], catalog.backends[found.backend]
    return RuntimeModel(
        model=found.model,
        upstream=spec.upstream,
        backend=found.backend,
        url=backend.url,
        protocol=backend.protocol,
        reason=found.reason,
        group=found.route.group,
        timeout=spec.timeout,
        max_tokens=spec.max_tokens,
        live=seen is not None,
        key=backend.api_key.get_secret_value(),
        epochs=BreakerEpochs() if seen is None else await _epochs(loaded, link, found),
    )


async def _epochs(loaded: LoadedConfig, link: RedisConnection, found: Resolved) -> BreakerEpochs:
    try:
        async with asyncio.timeout(LOOK_WITHIN):
            return await fetch_epochs(link, loaded.catalog, found.backend, found.model)
    except (StoreError, TimeoutError):
        return BreakerEpochs()


def _asked(role: str | None, wishes: ResolveOptions) -> RouteRequest:
    return RouteRequest(
        target=wishes.get("target"),
        role=role,
        task=wishes.get("task"),
        model=wishes.get("model"),
        group=wishes.get("group"),
        urgency=urgency_of(wishes.get("urgency")),
        local_only=bool(wishes.get("local_only")),
        needs=Requirements(tokens_at_least=wishes.get("tokens", 0)),
        text=wishes.get("text", ""),
    )


async def tell(loaded: LoadedConfig, link: RedisConnection, called: RuntimeModel, came: CallOutcome) -> bool:
    """Report a call; False when Redis does not take it."""
    error = error_class(came.get("error"), came.get("status"))
    latency = came.get("latency")
    made = ExternalCall(
        model=called.model,
        backend=called.backend,
        epochs=called.epochs,
        error=error,
        seconds=time.monotonic() - called.began if latency is None else latency,
        retry_after_seconds=came.get("retry_after"),
        input_tokens=came.get("input_tokens"),
        output_tokens=came.get("output_tokens"),
        group=called.group,
        jitter=random.random(),
    )
    try:
        async with asyncio.timeout(LOOK_WITHIN):  # the caller has an answer to give: nobody waits for a sick Redis
            await report_external_call(link, loaded.catalog, made)
    except (StoreError, TimeoutError):
        return False
    return True


def resolve_runtime_model(
    role: str | None = None, *, config: Path | str | None = None, **wishes: Unpack[ResolveOptions]
) -> RuntimeModel:
    """The model to call now, and everything that the call needs. See the module's own words for how to use it.

    The configuration is read again when its file has changed. Raises `NoModel` with the reason of each model,
    `UnknownName` for what is not in the catalog, `config.ConfigError`.
    """
    from openfall.producers.default_client import SHARED  # it knows the clients, which know this module

    return SHARED.openfall(None if config is None else Path(config)).resolve(role, **wishes)


def report_call(called: RuntimeModel, **came: Unpack[CallOutcome]) -> bool:
    """The same as `called.report(...)`."""
    return called.report(**came)
