"""Endpoints that list models, on loopback, beside a command that runs as a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.faults import COMPLETION


@asynccontextmanager
async def endpoint(
    names: Sequence[str] = (), *, key: str = "", props: dict[str, Any] | None = None, status: int = 200
) -> AsyncIterator[str]:
    """The base url of one that has these models, requires the key, and answers `props` as llama-server does."""

    async def models(request: web.Request) -> web.Response:
        if key and request.headers.get("authorization") != f"Bearer {key}":
            return web.json_response({"error": {"message": "wrong key", "type": "authentication_error"}}, status=401)
        listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}
        return web.json_response(listed, status=status)

    async def properties(_request: web.Request) -> web.Response:
        return web.json_response(props) if props is not None else web.json_response({}, status=404)

    async def answered(_request: web.Request) -> web.Response:
        return web.json_response(COMPLETION)

    app = web.Application()
    app.add_routes(
        [web.get("/v1/models", models), web.get("/props", properties), web.post("/v1/chat/completions", answered)]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def beside(
    story: Callable[[Callable[..., Coroutine[Any, Any, Any]]], Coroutine[Any, Any, None]], openfall: Any
) -> None:
    """Run a story that may serve while its commands run: it is given an awaitable `openfall`."""

    async def ran(*args: str, **more: Any) -> subprocess.CompletedProcess[str]:
        ran: subprocess.CompletedProcess[str] = await asyncio.to_thread(openfall, *args, **more)
        return ran

    asyncio.run(story(ran))
