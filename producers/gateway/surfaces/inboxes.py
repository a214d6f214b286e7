"""Our own API: the inboxes of a program, over HTTP. Reading takes no entry from another reader."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from starlette.responses import Response

from openfall.producers.gateway.caller_wait import unless_left
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.paging import page_limit
from openfall.producers.gateway.routes import COUNT, TEXT, Endpoint, body_of, json_response
from openfall.producers.job_request import parse_duration
from openfall.router_core.jobs.envelope import UnreadableEnvelope
from openfall.router_core.state.errors import UnknownJob
from openfall.router_core.state.inbox import (
    InboxEntry,
    acknowledge,
    await_entry,
    get_entry,
    is_entry_id,
    peek,
    read_entry_result,
    read_reply_to,
)
from openfall.router_core.state.redis_connection import RedisConnection

MAX_LISTED = 100


async def read_inbox(exchange: Exchange) -> Response:
    """List the entries that are not acknowledged, oldest first, behind `after`; wait for one for `wait` at most."""
    query, name = exchange.request.query_params, exchange.request.path_params["name"]
    limit, after = page_limit(query, 20, MAX_LISTED), query.get("after", "")
    if after and not is_entry_id(after):
        raise Refusal("bad_request", "`after` must be the id of an entry", "after")
    wanted = query.get("wait")
    seconds = 0.0 if wanted is None else min(parse_duration(wanted, "wait"), exchange.settings.wait_at_most)
    entries = await _read(exchange, name, after, limit, time.monotonic() + seconds)
    data = [_shown(exchange, name, entry) for entry in entries[:limit]]
    return json_response({"object": "list", "data": data, "has_more": len(entries) > limit})


async def acknowledge_entries(exchange: Exchange) -> Response:
    """Acknowledge entries: no reader gets them again. One that is acknowledged already stays so."""
    named = (await exchange.body()).get("entries")
    if not isinstance(named, list) or not all(isinstance(entry, str) and is_entry_id(entry) for entry in named):
        raise Refusal("bad_request", "`entries` must be a list of the ids of entries", "entries")
    link, name = exchange.link, exchange.request.path_params["name"]
    entries = await asyncio.gather(*(get_entry(link, name, entry) for entry in named))
    own = [entry for entry in entries if entry is not None and await _is_own(exchange, entry)]
    done = await asyncio.gather(*(acknowledge(link, name, entry) for entry in own))
    return json_response({"acknowledged": sum(done)})


async def _read(exchange: Exchange, name: str, after: str, limit: int, until: float) -> list[InboxEntry]:
    """The first entries of the key, one more than `limit`. Raises `CallerLeft`."""
    link = exchange.link
    entries: list[InboxEntry] = []
    async with RedisConnection(link.server) as waiting:
        while True:
            async for entry in peek(link, name, after):
                after = entry.entry_id
                if await _is_own(exchange, entry):
                    entries.append(entry)
                if len(entries) > limit:
                    return entries
            left = until - time.monotonic()
            if entries or left <= 0 or exchange.gateway.stopping.is_set():
                return entries
            await unless_left(exchange, await_entry(waiting, name, after, left))


async def _is_own(exchange: Exchange, entry: InboxEntry) -> bool:
    """Whether an entry is of a job of the key. One of another key does not exist for it."""
    if exchange.caller.admin:
        return True
    with suppress(UnknownJob):
        return (await exchange.client.record(entry.job_id)).producer == exchange.caller.name
    return False


def _shown(exchange: Exchange, name: str, entry: InboxEntry) -> dict[str, Any]:
    result = None
    with suppress(UnreadableEnvelope):
        result = read_entry_result(exchange.link, name, entry).as_json()
    return {
        "id": entry.entry_id,
        "object": "inbox.entry",
        "job_id": entry.job_id,
        "kind": entry.kind,
        "at": entry.at,
        "reply_to": read_reply_to(exchange.link, name, entry),
        "result": result,
    }


BODY = body_of("entries", entries={"type": "array", "items": {"type": "string"}})
ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/inboxes/{name}",
        read_inbox,
        "List the entries of an inbox, or wait for one.",
        query={"limit": COUNT, "after": TEXT, "wait": TEXT},
    ),
    Endpoint("POST", "/v1/inboxes/{name}/ack", acknowledge_entries, "Acknowledge entries of an inbox.", body=BODY),
)
