"""Whether this gateway can take requests."""

from __future__ import annotations

from starlette.responses import Response

from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.json_response import json_response
from openfall.producers.gateway.routes import Endpoint
from openfall.producers.gateway.waiting import count_workers


async def health(exchange: Exchange) -> Response:
    """Report whether Redis answers, and how many workers live. 503: no request is accepted now."""
    workers = await count_workers(exchange.gateway.client.store)
    answers = workers is not None
    body = {"status": "ok" if answers else "redis unreachable", "redis": answers, "workers": workers or 0}
    return json_response(body, 200 if answers else 503)


ENDPOINTS = (Endpoint("GET", "/health", health, "Report whether requests are accepted.", public=True),)
