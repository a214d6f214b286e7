"""Whether this door can take requests."""

from __future__ import annotations

from starlette.responses import Response

from openfall.producers.client_store import try_redis
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.json_response import json_response
from openfall.producers.gateway.routes import Endpoint
from openfall.router_core.state import keys


async def health(exchange: Exchange) -> Response:
    """Report whether Redis answers, and how many workers live. 503: no request is accepted now."""
    store = exchange.gateway.client.store
    now = await try_redis(store.server_time())
    workers = 0
    if now is not None:
        workers = await try_redis(store.connection.command("ZCOUNT", keys.PRESENCE, int(now * 1000), "+inf")) or 0
    answers = now is not None
    body = {"status": "ok" if answers else "redis unreachable", "redis": answers, "workers": workers}
    return json_response(body, 200 if answers else 503)


ENDPOINTS = (Endpoint("GET", "/health", health, "Report whether requests are accepted.", public=True),)
