"""The ASGI application: finds the endpoint and the caller of a request, and is the one place where errors leave."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import ExitStack
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from openfall.config.gateway_settings import PassthroughSection
from openfall.producers.gateway.error_table import Refusal, refusal_of_error
from openfall.producers.gateway.exchange import CallerLeft, Exchange, new_request_id
from openfall.producers.gateway.gateway import Gateway
from openfall.producers.gateway.request_headers import IndexedRequest
from openfall.producers.gateway.request_path import normalize_path
from openfall.producers.gateway.route_table import RouteTable
from openfall.producers.gateway.routes import Endpoint, json_response
from openfall.producers.gateway.surface import Surface, surface_of
from openfall.producers.gateway.surfaces import (
    batches,
    chat_completions,
    echo,
    embeddings,
    files,
    inboxes,
    jobs,
    message_batches,
    messages,
    model_switch,
    models,
    monitoring,
    ollama,
    ollama_models,
    openapi,
    passthrough,
    responses,
)
from openfall.producers.page import endpoints as page
from openfall.router_core.state.client_keys import ClientKey
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.refused_requests import NO_KEY

log = logging.getLogger("openfall.gateway")

_APIS = (
    chat_completions, embeddings, responses, messages, message_batches, models, ollama, ollama_models, files, batches,
    jobs, inboxes, echo, monitoring, model_switch, page,
)  # fmt: skip
ENDPOINTS = openapi.endpoints_with(endpoint for api in _APIS for endpoint in api.ENDPOINTS)

_UNKNOWN = ClientKey(name="-", digest="")
"""The caller of a request that is refused before its key is known."""
MAX_LOGGED_PATH = 256
CLIENT_CLOSED_REQUEST = 499
"""The status of a request whose caller has left, for the log: no response can reach it."""


class App:
    """The gateway as an ASGI application. One instance per process."""

    def __init__(self, gateway: Gateway, endpoints: Iterable[Endpoint] = ENDPOINTS) -> None:
        self.gateway = gateway
        self._endpoints = tuple(endpoints)
        self._passed: PassthroughSection | None = None
        self._routes = RouteTable(self._endpoints)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.gateway.start()
        except StoreError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.gateway.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.monotonic()
        path = normalize_path(scope["path"], self.gateway.settings.root_path)
        request = IndexedRequest({**scope, "path": path.path}, receive)
        exchange = Exchange(self.gateway, request, path, surface_of(path.path), _UNKNOWN, new_request_id())
        status = CLIENT_CLOSED_REQUEST
        try:
            with ExitStack() as admission:
                response = await self._respond(exchange, admission)
                status = response.status_code
                self._add_headers(exchange, response)
                await response(scope, receive, send)
        except CallerLeft:
            pass
        finally:
            exchange.release_body()
            key = NO_KEY if exchange.caller is _UNKNOWN else exchange.caller.name
            self.gateway.refusals.add(key, exchange.refused)
            _log_access(exchange, status, time.monotonic() - started)

    async def _respond(self, exchange: Exchange, admission: ExitStack) -> Response:
        try:
            if exchange.request.method == "OPTIONS" and "origin" in exchange.request.headers:
                return self._preflight(exchange)
            endpoint = self._routes_of(exchange).find(exchange.request, exchange.path, exchange.settings.root_path)
            if not endpoint.public:
                exchange.caller = self.gateway.access.caller(exchange.request)
            if endpoint.limited:
                admission.enter_context(self.gateway.limits.admitted(exchange.caller))
            return await endpoint.handler(exchange)
        except CallerLeft:
            raise
        except Exception as error:
            refusal = refusal_of_error(error)
            if refusal is None:
                log.exception("an unexpected error", extra={"request": exchange.request_id})
                refusal = Refusal("other", f"unexpected error; the log of the gateway has it as {exchange.request_id}")
            return _refuse(exchange, refusal)

    def _routes_of(self, exchange: Exchange) -> RouteTable:
        """The routes with the paths that the configuration of a request passes through."""
        passed = exchange.settings.passthrough
        if passed != self._passed:
            own = self._endpoints
            self._passed, self._routes = passed, RouteTable((*own, *passthrough.endpoints_of(passed, own)))
        return self._routes

    def _preflight(self, exchange: Exchange) -> Response:
        """What a browser asks before it sends a request of another origin."""
        self.gateway.access.check_origin(exchange.request.headers)
        wanted = exchange.request.headers.get("access-control-request-headers", "*")
        allowed = {"access-control-allow-methods": "GET, POST, DELETE", "access-control-allow-headers": wanted}
        return Response(status_code=204, headers=allowed)

    def _add_headers(self, exchange: Exchange, response: Response) -> None:
        response.headers["x-request-id"] = response.headers["request-id"] = exchange.request_id
        if exchange.job_id is not None:
            response.headers["x-openfall-job"] = exchange.job_id
        if exchange.is_replayed:
            response.headers["idempotency-replayed"] = "true"
        origin = exchange.request.headers.get("origin", "")
        if origin and self.gateway.access.allows_origin(origin):
            response.headers["access-control-allow-origin"] = origin
            response.headers["access-control-expose-headers"] = "*"
            response.headers["vary"] = "origin"


def _refuse(exchange: Exchange, refusal: Refusal) -> Response:
    exchange.refused = refusal.cause
    body = refusal.body(exchange.surface, exchange.request_id)
    headers = refusal.headers()
    if exchange.surface is Surface.OLLAMA:  # its errors are a text alone
        headers["x-openfall-code"] = refusal.row.code
    return json_response(body, refusal.status(exchange.surface), headers)


def _log_access(exchange: Exchange, status: int, seconds: float) -> None:
    """One line for a request. Never a body, never a query: it may carry a key."""
    fields = {
        "job": exchange.job_id, "status": status, "key": exchange.caller.name, "ms": round(seconds * 1000),
        "request": exchange.request_id,
    }  # fmt: skip
    log.info("%s %s", exchange.request.method, _loggable(exchange.path.path), extra=fields)


def _loggable(path: str) -> str:
    """The path as it is in a URL: decoded, it may have line feeds and spaces, which would pass for other fields."""
    return quote(path, safe="/:@+,;~()")[:MAX_LOGGED_PATH]
