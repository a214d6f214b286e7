"""What monitors read: whether requests are accepted, and the metrics of the fleet for Prometheus.

One gateway exports the whole fleet, since the counts are in Redis.
"""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from openfall.producers.client_store import REDIS_TIMEOUT_SECONDS, ClientStore, check_writes, try_redis
from openfall.producers.gateway.caller_wait import count_workers
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import Endpoint, json_response
from openfall.producers.page.page_access import has_foreign_origin, is_local
from openfall.router_core.state.errors import StoreError, StoreFull


async def health(exchange: Exchange) -> Response:
    """Report whether Redis answers and takes writes, and how many workers live. 503: no request is accepted now."""
    workers = await count_workers(exchange.client.store)
    status = "redis unreachable" if workers is None else await _describe_refusal(exchange.client.store) or "ok"
    body = {"status": status, "redis": workers is not None, "workers": workers or 0}
    return json_response(body, 200 if status == "ok" else 503)


async def _describe_refusal(store: ClientStore) -> str:
    """Why Redis takes no writes; empty: it does. Anyone may read it, so it does not have the address."""
    try:
        async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
            await check_writes(store.connection)
    except StoreFull:
        return "redis takes no writes: its disk or its memory is full"
    except (StoreError, TimeoutError):
        return "redis takes no writes"
    return ""


async def metrics(exchange: Exchange) -> Response:
    """Report the metrics of the fleet, for Prometheus. While Redis is away, `openfall_up` is 0 and stands alone."""
    from openfall.producers.metrics.exposition import expose
    from openfall.producers.metrics.metrics_reader import read_metrics

    _check_reader(exchange)
    catalog = exchange.catalog
    reading = await try_redis(read_metrics(exchange.link, catalog))
    accept = exchange.request.headers.get("accept", "")
    text = await asyncio.to_thread(expose, reading, catalog, accept)
    return Response(text.body, media_type=None, headers={"content-type": text.media_type})


def _check_reader(exchange: Exchange) -> None:
    """A caller on this machine may read, unless it is a web page of another address, and a key that may read the page.
    Raises `Refusal`."""
    if is_local(exchange) and not has_foreign_origin(exchange):
        return
    exchange.caller = exchange.gateway.access.caller(exchange.request)
    if exchange.caller.page_right is None:
        advice = "create one with `openfall keys new NAME --page read`"
        raise Refusal("not_allowed", f"this key may not read the metrics: {advice}")


ENDPOINTS = (
    Endpoint("GET", "/health", health, "Report whether requests are accepted.", public=True),
    Endpoint("GET", "/metrics", metrics, "Report metrics for Prometheus.", public=True, media_type="text/plain"),
)
