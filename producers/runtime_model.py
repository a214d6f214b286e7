"""Names a model for programs that make the call themselves, and reports the outcome to breakers and ledger."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypedDict, Unpack

from openfall.config import LoadedConfig
from openfall.producers.arguments import NAME, OUTCOMES, RESOLVE_OPTIONS, check, check_options, describe
from openfall.producers.client_store import fetch_fleet, try_redis
from openfall.producers.errors import BadRequest, NoModel
from openfall.producers.exception_error_class import error_class, http_status
from openfall.producers.job_request import parse_urgency
from openfall.producers.resolve import Resolution, resolve
from openfall.router_core.catalog.budget_scope import NO_OWNER, CallOwner
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.rate_limits import ChargedCall
from openfall.router_core.deciding.substitution import Substitution, chain_substitution
from openfall.router_core.errors import InvalidOperation
from openfall.router_core.routing.chain_selection import AUTO, RouteRequest
from openfall.router_core.routing.requirements import Requirements
from openfall.router_core.state.external_calls import (
    CallStart,
    ExternalCall,
    first_credential,
    report_external_call,
    start_external_call,
)
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import ErrorClass, Urgency, UrgencyName


class ResolveOptions(TypedDict, total=False):
    """Which model is wanted. Everything has a default.

    `target` is a role, task or model, or `auto`; `model` may be `auto` too. `exclude` lists models or backends that
    must not be named. `prompt_tokens` is a lower bound of the prompt's length. `text` is the prompt: it selects a task
    when nothing else does.
    """

    target: str | None
    task: str | None
    model: str | None
    group: str | None
    urgency: Urgency | UrgencyName | None
    local_only: bool
    exclude: Sequence[str]
    prompt_tokens: int
    text: str | None


class CallOutcome(TypedDict, total=False):
    """The outcome of a call. Empty: it answered.

    `error` is an `ErrorClass`, its name (`timeout`), any other text, or the exception that was raised. `status` is an
    HTTP status. `latency_seconds` defaults to the time since the model was resolved. `retry_after` is the value of
    that header in seconds.
    """

    error: ErrorClass | str | BaseException | None
    status: int | None
    latency_seconds: float | None
    retry_after: float | None
    input_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeModel:
    """A model to call now: `upstream` is its name at `url`, whose API is `protocol`.

    `api_key` is the backend's (of several the one whose turn it is), empty if it has none. `auth_token` is sent as a
    bearer token in its place, where the backend has one. `max_tokens` and `timeout` (seconds) are the model's settings.
    `substitution`: its answers are given in place of the first choice of the configuration.
    `live` is False when the fleet's state was unknown, so that the catalog alone decided.
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
    api_key: str = field(repr=False)
    auth_token: str = field(repr=False)
    start: CallStart = field(repr=False)
    substitution: Substitution | None = field(default=None, repr=False)
    owner: CallOwner = field(default=NO_OWNER, repr=False)
    resolved_at: float = field(default_factory=time.monotonic, repr=False, compare=False)
    reporter: Callable[[RuntimeModel, CallOutcome], bool] | None = field(default=None, repr=False, compare=False)

    def report(self, **outcome: Unpack[CallOutcome]) -> bool:
        """Report the outcome of the call. False: Redis did not take it.

        A model that an `AsyncOpenfall` named takes `await llm.report(model, ...)` instead.
        """
        if self.reporter is None:
            raise InvalidOperation("an AsyncOpenfall resolved this model: use `await llm.report(model, ...)`")
        return self.reporter(self, outcome)


async def resolve_model(
    config: LoadedConfig, connection: RedisConnection | None, role: str | None, options: ResolveOptions
) -> RuntimeModel:
    """The model to call. Raises `UnknownName`, `NoModel`."""
    check("role", role, NAME)
    check_options(options, RESOLVE_OPTIONS)
    catalog = config.catalog
    snapshot = await fetch_fleet(connection, catalog)
    resolution = resolve(
        catalog, route_request(role, options), snapshot, exclude=options.get("exclude") or (), direct=True
    )
    spec, backend = catalog.models[resolution.model], catalog.backends[resolution.backend]
    start = CallStart(first_credential(catalog, resolution.backend))
    if connection is not None and snapshot is not None:
        tokens = (options.get("prompt_tokens") or 0) + (spec.max_tokens or 0)
        start = await _start_call(connection, catalog, resolution, tokens) or start
    secret = catalog.credentials(resolution.backend).get(start.credential, "")
    return RuntimeModel(
        model=resolution.model,
        upstream=spec.upstream,
        backend=resolution.backend,
        url=backend.url,
        protocol=backend.protocol,
        reason=resolution.reason,
        group=resolution.route.group,
        timeout=catalog.call_timeout(resolution.model, resolution.route.urgency),
        max_tokens=spec.max_tokens,
        live=snapshot is not None,
        api_key="" if backend.has_auth_token else secret,
        auth_token=secret if backend.has_auth_token else "",
        start=start,
        substitution=_substitution(catalog, resolution),
        owner=resolution.owner,
    )


def _substitution(catalog: Catalog, resolution: Resolution) -> Substitution | None:
    routed = resolution.route
    return chain_substitution(routed.configured_chain, 1, catalog, (resolution.model, resolution.backend), routed.group)


async def _start_call(
    connection: RedisConnection, catalog: Catalog, resolution: Resolution, tokens: int
) -> CallStart | None:
    """The start of the call, once the limits of its backend allow it. None: Redis does not answer.

    Raises `NoModel` if they do not within the `start_within` of the urgency."""
    backend, model, urgency = resolution.backend, resolution.model, resolution.route.urgency
    left = catalog.urgency[urgency].start_within
    charge = ChargedCall("", urgency is Urgency.INTERACTIVE, tokens)
    while True:
        start = await try_redis(start_external_call(connection, catalog, backend, model, charge))
        if start is None or not start.wait_seconds:
            return start
        if start.wait_seconds > left:
            known = (state.trouble for state in resolution.backends(model) if state.name == backend)
            why = next(filter(None, known), f"a limit of {backend} is reached, free in {start.wait_seconds:.0f} s")
            raise NoModel(f"no model can be called now: {model}: {why}")
        left -= start.wait_seconds
        await asyncio.sleep(start.wait_seconds)


def route_request(role: str | None, options: ResolveOptions) -> RouteRequest:
    """Raises `UnknownName` for an urgency."""
    model = options.get("model")
    return RouteRequest(
        target=AUTO if model == AUTO else options.get("target"),
        role=role,
        task=options.get("task"),
        model=None if model == AUTO else model,
        group=options.get("group"),
        urgency=parse_urgency(options.get("urgency")),
        local_only=bool(options.get("local_only")),
        needs=Requirements(tokens_at_least=options.get("prompt_tokens") or 0),
        texts=(text,) if (text := options.get("text")) else (),
    )


async def report_outcome(
    config: LoadedConfig, connection: RedisConnection | None, model: RuntimeModel, outcome: CallOutcome
) -> bool:
    """Report a call. False: Redis did not take it within `REDIS_TIMEOUT_SECONDS`. The caller must not wait longer."""
    if not isinstance(model, RuntimeModel):
        raise BadRequest(f"`model` must be what `resolve` returned, not {describe(model)}")
    check_options(outcome, OUTCOMES, "outcome")
    if connection is None:
        return False
    latency = outcome.get("latency_seconds")
    call = ExternalCall(
        model=model.model,
        backend=model.backend,
        start=model.start,
        error=error_class(outcome.get("error"), outcome.get("status")),
        http_status=http_status(outcome.get("error"), outcome.get("status")),
        seconds=time.monotonic() - model.resolved_at if latency is None else latency,
        retry_after_seconds=outcome.get("retry_after"),
        input_tokens=outcome.get("input_tokens"),
        output_tokens=outcome.get("output_tokens"),
        group=model.group,
        substitution=model.substitution,
        owner=model.owner,
        jitter=random.random(),
    )
    return await try_redis(report_external_call(connection, config.catalog, call)) is not None
