"""A server that refuses each request with a row of the gateway's error table: `/CAUSE/v1/...`."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from openfall.producers.gateway.error_table import TABLE, Refusal
from openfall.producers.gateway.surface import surface_of
from tests.clients.scripted_upstream import listening

REMEDY = "do this: `openfall status`"
"""The message of each refusal."""


@asynccontextmanager
async def refusing_server() -> AsyncIterator[str]:
    """The address. `GET /rows` lists the table, with the requests so far by API: an SDK repeats some by itself."""
    received: Counter[tuple[str, str]] = Counter()

    async def refuse(request: web.Request) -> web.Response:
        cause, surface = request.match_info["cause"], surface_of(f"/v1/{request.match_info['rest']}")
        received[cause, str(surface)] += 1
        refusal = Refusal(cause, REMEDY)
        headers = {**refusal.headers(), "retry-after-ms": "1"}  # nothing waits for a row that is repeated
        return web.json_response(refusal.body(surface, "req_1"), status=refusal.status(surface), headers=headers)

    async def rows(_: web.Request) -> web.Response:
        return web.json_response([
            {
                "cause": cause, "status": row.status, "code": row.code, "type": row.type, "anthropic": row.anthropic,
                "anthropic_status": row.anthropic_status or row.status, "message": REMEDY,
                "requests": 2 if row.retry else 1,
                "received": {api: received[cause, api] for api in ("openai", "anthropic")},
            }
            for cause, row in TABLE.items()
        ])  # fmt: skip

    app = web.Application()
    app.add_routes([web.get("/rows", rows), web.post("/{cause}/v1/{rest:.*}", refuse)])
    async with listening(app) as url:
        yield url
