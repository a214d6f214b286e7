"""Requests to the paths of `gateway: {passthrough: ...}`, which reach a backend as they are, beside the queue."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from starlette.responses import Response, StreamingResponse
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from openfall.config.gateway_settings import PassthroughSection
from openfall.producers.client_store import try_redis
from openfall.producers.gateway.caller_wait import unless_left
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.job_headers import check_headers
from openfall.producers.gateway.request_path import normalize_path
from openfall.producers.gateway.routes import Endpoint
from openfall.router_core.catalog.budget_scope import CallOwner
from openfall.router_core.catalog.prices import nanodollars
from openfall.router_core.deciding.subscription_limits import PlanShare
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.routing.chain_selection import get_group
from openfall.router_core.state import keys
from openfall.router_core.state.external_calls import book_passthrough_request, first_credential
from openfall.router_core.state.operator_switches import local_only
from openfall.router_core.state.subscription_plans import report_plan_shares

if TYPE_CHECKING:
    from aiohttp import ClientResponse

    from openfall.workers.backends.http_backend import HttpBackend

log = logging.getLogger("openfall.gateway")

SENT_HEADERS = ("content-type", "accept", "anthropic-version", "anthropic-beta", "openai-beta")
"""All that a backend gets of a caller's headers: any other might carry the key of the caller."""
RETURNED_HEADERS = ("content-type", "content-disposition", "cache-control", "retry-after")
COUNTER = "passed_through"
SUMMARY = "Pass to a backend, beside the queue."
_MASK = b"***"
_REFUSED_KEYS = frozenset({401, 403})


def endpoints_of(settings: PassthroughSection | None, own: Iterable[Endpoint]) -> Iterator[Endpoint]:
    """The endpoints of the configured paths, without those that the gateway serves itself."""
    if settings is None:
        return
    served = [compile_path(endpoint.path)[0] for endpoint in own]
    for path in (normalize_path(path).path for path in settings.paths):
        for method in () if any(pattern.match(path) for pattern in served) else ("GET", "POST"):
            yield Endpoint(method, path, _pass, SUMMARY, body={}, streams=True)


async def _pass(exchange: Exchange) -> Response:
    """Send a request to the backend, and its answer back. Raises `Refusal`."""
    settings = exchange.settings.passthrough
    assert settings is not None
    await _check(exchange, settings.backend)
    if settings.usd_per_request:
        await _book(exchange, settings.backend, nanodollars(settings.usd_per_request))
    payload = await exchange.read_bytes()
    await try_redis(exchange.link.command("HINCRBY", keys.COUNTERS, COUNTER, 1))
    path = next(path for path in settings.paths if normalize_path(path).path == exchange.path.path)
    backend, secrets = _open(exchange, settings.backend)
    try:
        response = await _send(exchange, backend, path, payload)
    except BaseException:
        await backend.close()
        raise
    exchange.release_body()
    await _note_plan_shares(exchange, settings.backend, backend.plan_shares(response))
    return _PassedResponse(response, backend, secrets)


async def _check(exchange: Exchange, name: str) -> None:
    """Whether the caller may, and the request may leave. Raises `Refusal`, `UnknownName`."""
    check_headers(exchange.request.headers)
    if exchange.caller.names:
        raise Refusal("not_allowed", "this key is for certain models only, and a passed path may reach any")
    catalog = exchange.catalog
    if catalog.pools[catalog.backends[name].pool].local:
        return
    is_switched_on = await local_only(exchange.link) is not None
    if catalog.local_only or exchange.local_only() or is_switched_on:
        raise Refusal("local_only", f"requests must stay on local machines, and {name} is not one")


async def _book(exchange: Exchange, backend: str, cost_nusd: int) -> None:
    """Book what a request costs. Raises `Refusal` if it does not fit into a budget, or Redis does not answer."""
    caller, catalog = exchange.caller, exchange.catalog
    group = get_group(catalog, caller.group)
    owner = CallOwner(group=group.name if group else None, producer=caller.name)
    over = await book_passthrough_request(exchange.link, catalog, backend, cost_nusd, owner)
    if over is not None:
        raise Refusal("budget", over.message)


def _open(exchange: Exchange, name: str) -> tuple[HttpBackend, tuple[bytes, ...]]:
    """A client of the backend for one request, and the secrets that no answer may have."""
    from openfall.workers.backends.registry import open_backend  # ADR 17: worker code only where it is needed
    from openfall.workers.backends.transport import Transport

    spec = exchange.catalog.backends[name]
    return open_backend(spec, Transport(keep_alive=False)), tuple(secret.encode() for secret in spec.secrets)


async def _send(exchange: Exchange, backend: HttpBackend, path: str, payload: bytes) -> ClientResponse:
    """The response of the backend, once its head has arrived. Raises `Refusal`, and `CallerLeft`."""
    request, limit = exchange.request, exchange.settings.wait_at_most
    headers = {name: request.headers[name] for name in SENT_HEADERS if name in request.headers}
    query = f"?{request.url.query}" if request.url.query else ""
    sending = backend.pass_on(request.method, path + query, headers, payload)
    try:
        response = await unless_left(exchange, sending, limit)
    except TimeoutError:
        raise Refusal("timeout", f"the backend has not answered within {limit:g} s") from None
    if isinstance(response, Failure):
        raise Refusal(str(response.error_class), response.detail)
    if response.status in _REFUSED_KEYS:
        response.close()
        raise Refusal("auth", f"the backend refused the key of the configuration: HTTP {response.status}")
    return response


async def _note_plan_shares(exchange: Exchange, name: str, shares: Sequence[PlanShare]) -> None:
    """Note what the response says of the limits of a subscription, which pays for the backend."""
    catalog, link = exchange.catalog, exchange.link
    called = name, "", first_credential(catalog, name)
    await try_redis(report_plan_shares(link, catalog, called, shares))


class _PassedResponse(StreamingResponse):
    """The answer of a backend, in the parts in which it arrives."""

    def __init__(self, upstream: ClientResponse, backend: HttpBackend, secrets: tuple[bytes, ...]) -> None:
        headers = {name: upstream.headers[name] for name in RETURNED_HEADERS if name in upstream.headers}
        parts = _without(backend.body_of(upstream), secrets)
        super().__init__(parts, upstream.status, {"x-accel-buffering": "no", **headers})
        self._upstream, self._backend = upstream, backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from aiohttp import ClientError

        try:
            await super().__call__(scope, receive, send)
        except ClientError as error:  # the connection is closed without an end, so that the caller sees it
            log.warning("an answer that is passed through broke off: %s", type(error).__name__)
        finally:
            self._upstream.close()
            await self._backend.close()


async def _without(parts: AsyncIterator[bytes], secrets: tuple[bytes, ...]) -> AsyncIterator[Any]:
    """The parts with each secret masked, also one that begins in one part and ends in the next."""
    rest = b""
    async for part in parts:
        rest += part
        for secret in secrets:
            rest = rest.replace(secret, _MASK)
        kept = max((_begun(rest, secret) for secret in secrets), default=0)
        ready, rest = rest[: len(rest) - kept], rest[len(rest) - kept :]
        if ready:
            yield ready
    if rest:
        yield rest


def _begun(text: bytes, secret: bytes) -> int:
    """How many bytes at the end of a text are the beginning of a secret."""
    lengths = range(min(len(text), len(secret) - 1), 0, -1)
    return next((length for length in lengths if text.endswith(secret[:length])), 0)
