"""Upstreams that hang: Ollama's, Anthropic's and OpenAI's protocol on one port. A prompt names its fault.

`fault=KIND@MODEL` in the last message breaks the calls of that model (`*`: of every model) and no others, so runs with
different faults can go on side by side. The kinds:

- refuse: the connection is reset before any byte of a response
- hang_before_head: the request is taken, and nothing follows
- hang_after_head: the head of a stream, and nothing follows
- drip: one character of the answer each second
- load: the model is not in memory, and is never loaded (Ollama alone; elsewhere as hang_before_head)
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

FAULTS = ("refuse", "hang_before_head", "hang_after_head", "drip", "load")
DRIP_SECONDS = 1.0
TEXT = "<p>An answer.</p>\n```mermaid\ngraph TD\n  a --> b\n```\n"
_NAMED = re.compile(r"fault=(\w+)@(\S+)")


def named_fault(body: dict[str, Any]) -> str | None:
    """The fault of a request's model; None: the model answers."""
    match = _NAMED.search(json.dumps(body.get("messages", [])).replace("\\n", "\n"))
    if match is None:
        return None
    model = match[2].rstrip('"}],')
    return match[1] if model in ("*", body.get("model")) else None


async def answer(request: web.Request) -> web.StreamResponse:
    """One completion, with the fault that its prompt names."""
    body = await request.json()
    fault = named_fault(body)
    if fault == "refuse":
        if request.transport is not None:
            request.transport.abort()
        return web.Response()
    if fault in ("hang_before_head", "load"):
        await asyncio.Event().wait()
    ndjson = request.path.endswith("/api/chat")
    headers = {"Content-Type": "application/x-ndjson" if ndjson else "text/event-stream"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    if fault == "hang_after_head":
        await asyncio.Event().wait()
    for event in _events(request.path, body.get("model", ""), TEXT * 5 if fault == "drip" else TEXT, fault == "drip"):
        if fault == "drip":
            await asyncio.sleep(DRIP_SECONDS)
        await response.write(event)
    return response


def _events(path: str, model: str, text: str, by_character: bool) -> Iterator[bytes]:
    """The events of a streamed answer in the protocol of the path."""
    pieces = list(text) if by_character else [text]
    if path.endswith("/api/chat"):
        for piece in pieces:
            yield _line({"model": model, "message": {"role": "assistant", "content": piece}, "done": False})
        last = {"role": "assistant", "content": ""}
        counts = {"prompt_eval_count": 9, "eval_count": 9}
        yield _line({"model": model, "message": last, "done": True, "done_reason": "stop", **counts})
    elif path.endswith("/messages"):
        usage = {"input_tokens": 9, "output_tokens": 9}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [], "usage": usage}
        yield _event({"type": "message_start", "message": message})
        yield _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        for piece in pieces:
            delta = {"type": "text_delta", "text": piece}
            yield _event({"type": "content_block_delta", "index": 0, "delta": delta})
        yield _event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})
        yield _event({"type": "message_stop"})
    else:
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
        for piece in pieces:
            yield _event({**base, "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
        yield _event({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        yield b"data: [DONE]\n\n"


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _event(value: dict[str, Any]) -> bytes:
    return f"event: {value.get('type', 'message')}\n".encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


class Upstream:
    """The server. `loaded` are the models that its Ollama lists as loaded."""

    def __init__(self, loaded: tuple[str, ...]) -> None:
        self.loaded = loaded
        self.url = ""

    async def list_loaded(self, _request: web.Request) -> web.Response:
        models = [{"name": name, "model": name, "size": 1, "size_vram": 1} for name in self.loaded]
        return web.json_response({"models": models})

    async def list_models(self, _request: web.Request) -> web.Response:
        return web.json_response({"models": [{"name": name} for name in self.loaded], "data": []})

    def application(self) -> web.Application:
        application = web.Application()
        for path in ("/api/chat", "/v1/messages", "/messages", "/v1/chat/completions", "/chat/completions"):
            application.router.add_post(path, answer)
        application.router.add_get("/api/ps", self.list_loaded)
        application.router.add_get("/api/tags", self.list_models)
        return application


@asynccontextmanager
async def serving(loaded: tuple[str, ...]) -> AsyncIterator[Upstream]:
    """The upstream on a free port of this machine, in this process."""
    upstream = Upstream(loaded)
    runner = web.AppRunner(upstream.application(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        upstream.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield upstream
    finally:
        await runner.cleanup()
