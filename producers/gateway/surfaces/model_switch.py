"""Which local model is in memory, and a switch to another one, for programs that were made for a single card."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

from starlette.responses import Response, StreamingResponse

from openfall.config.settings import engine_restarts
from openfall.producers.gateway.access import check_allowed
from openfall.producers.gateway.encoders import sse
from openfall.producers.gateway.error_table import Refusal, refusal_of_error
from openfall.producers.gateway.event_stream import HEADERS
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.model_memory import first_model, move_model, requested_name, start_load
from openfall.producers.gateway.routes import TEXT, Endpoint, body_of, json_response
from openfall.router_core.state.fleet_status import fetch_status
from openfall.router_core.state.loading_marks import seconds_loading
from openfall.router_core.state.model_status import ModelStatus, fetch_model_status
from openfall.router_core.vocabulary import LoadState, Urgency

SWITCH_SECONDS = 120.0
"""How long a switch is waited for. The load goes on after it."""
EVENT_SECONDS = 1.0
_IN_MEMORY = (LoadState.IN_USE, LoadState.READY)


async def status(exchange: Exchange) -> Response:
    """Describe which local model is in memory, whether it is being switched, and who waits."""
    link, catalog = exchange.link, exchange.catalog
    local, fleet = await asyncio.gather(_local_rows(exchange), fetch_status(link))
    active, loading = _in_memory(local), _loading(local)
    elapsed = None if loading is None else await seconds_loading(link, catalog, loading)
    own = {catalog.queue(row.model, urgency) for row in local for urgency in Urgency}
    queues = [queue for queue in fleet.queues if queue.name in own]
    oldest = [queue.oldest_seconds for queue in queues if queue.oldest_seconds is not None]
    return json_response({
        "active": active,
        "state": _state(local, active, loading),
        "switching_to": loading,
        "elapsed_s": None if elapsed is None else round(elapsed, 1),
        "queue": {
            "waiting": sum(queue.waiting for queue in queues),
            "most": catalog.urgency[Urgency.INTERACTIVE].max_queued or None,
            "oldest_s": max(oldest, default=None),
        },
        "restarts": await asyncio.to_thread(engine_restarts, exchange.config.settings),
        "backend": _backend(local, active),
    })  # fmt: skip


async def switch(exchange: Exchange) -> Response:
    """Load a model, and wait until it is ready, for at most 120 s. With `Accept: text/event-stream`: in events."""
    body = await exchange.body()
    name = requested_name(exchange, body, "model", "profile", "name")
    check_allowed(exchange.caller, name)
    alias = first_model(exchange.catalog, name)
    rows = await _local_rows(exchange)
    loading = _loading(rows)
    if loading not in (None, alias):
        raise Refusal("switching", f"{loading} is being loaded: send the request again when it is ready")
    loaded = start_load(_load(exchange, alias))
    if "text/event-stream" in exchange.request.headers.get("accept", ""):
        events = _events(exchange, loaded, alias, _in_memory(rows))
        return StreamingResponse(events, headers=HEADERS, media_type="text/event-stream")
    await asyncio.wait({loaded}, timeout=SWITCH_SECONDS)
    return json_response({"active": alias, "took_s": _took(loaded, alias)})


async def _load(exchange: Exchange, alias: str) -> float:
    """Load a model at its backends. The seconds that it took. Raises `Refusal`.

    Another process may load it already: then it is waited for.
    """
    started = time.monotonic()
    await move_model(exchange, "load", alias, is_audited=True)
    while _loading(await _local_rows(exchange)) == alias:  # noqa: ASYNC110 - another process loads it
        await asyncio.sleep(EVENT_SECONDS)
    return time.monotonic() - started


def _took(loaded: asyncio.Task[float], alias: str) -> float:
    """The seconds of a load. Raises its `Refusal`, and one for a load that goes on."""
    if not loaded.done():
        raise Refusal("timeout", f"{alias} is not ready after {SWITCH_SECONDS:g} s: the load goes on")
    return round(loaded.result(), 3)


async def _events(
    exchange: Exchange, loaded: asyncio.Task[float], alias: str, before: str | None
) -> AsyncIterator[bytes]:
    started = time.monotonic()
    while (elapsed := time.monotonic() - started) < SWITCH_SECONDS:
        yield sse.named("model_switching", {"model": alias, "from": before, "elapsed_s": round(elapsed, 1)})
        await asyncio.wait({loaded}, timeout=EVENT_SECONDS)
        if loaded.done():
            break
    try:
        yield sse.named("ready", {"active": alias, "took_s": _took(loaded, alias)})
    except Exception as error:
        refusal = refusal_of_error(error)
        if refusal is None:
            raise
        exchange.refused = refusal.cause
        yield sse.named("failed", refusal.body(exchange.surface, exchange.request_id))


async def _local_rows(exchange: Exchange) -> list[ModelStatus]:
    rows = await fetch_model_status(exchange.link, exchange.catalog)
    return [row for row in rows if exchange.catalog.is_local(row.model)]


def _in_memory(rows: Sequence[ModelStatus]) -> str | None:
    """The model that is in use, else one that is ready."""
    for wanted in _IN_MEMORY:
        for row in rows:
            if any(at.load_state is wanted for at in row.backends):
                return row.model
    return None


def _loading(rows: Sequence[ModelStatus]) -> str | None:
    return next((row.model for row in rows if any(at.load_state is LoadState.LOADING for at in row.backends)), None)


def _state(rows: Sequence[ModelStatus], active: str | None, loading: str | None) -> str:
    if loading is not None:
        return "loading" if active is None else "switching"
    if active is not None:
        return "ready"
    return "error" if any(at.load_state is LoadState.ERROR for row in rows for at in row.backends) else "idle"


def _backend(rows: Sequence[ModelStatus], active: str | None) -> str | None:
    return next(
        (at.backend for row in rows if row.model == active for at in row.backends if at.load_state in _IN_MEMORY), None
    )


_NAME = body_of("model", model=TEXT)
ENDPOINTS = (
    Endpoint("GET", "/models/status", status, "Describe which local model is in memory."),
    Endpoint("POST", "/models/switch", switch, "Load a model, and wait for it.", body=_NAME, streams=True),
)
