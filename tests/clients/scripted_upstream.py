"""A provider in OpenAI's protocol that answers every request as its words, tools and formats demand.

Words of the last message: `slowly` lets a second pass between two words of a stream, `cut` breaks the stream of the
first model in mid-answer, `too long` and `filtered` are refused.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

TEXT = "A lantern festival."
USAGE = {"prompt_tokens": 41, "completion_tokens": 5, "total_tokens": 46}

SLOW_SECONDS = 1.0
CUT_AFTER, CUT_MODEL = 2, "tiny-1"
_REFUSALS = {"too long": "context_length_exceeded", "filtered": "content_filter"}

_EXAMPLES = {"integer": 3, "number": 3, "boolean": True, "string": "dusk", "null": None}
"""A value of each plain type of JSON Schema."""


@asynccontextmanager
async def scripted_upstream() -> AsyncIterator[str]:
    """The address of the provider."""
    app = web.Application(client_max_size=64 * 1024**2)
    app.router.add_post("/{path:.*}", _answer_or_end)
    async with listening(app) as url:
        yield url


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[str]:
    """The address at which an application is served."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _answer_or_end(request: web.Request) -> web.StreamResponse:
    """Answer. A worker whose job was cancelled closes its connection in mid-answer."""
    try:
        return await _answer(request)
    except ConnectionResetError:
        return web.Response()


async def _answer(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    last_words = str((body.get("messages") or [{}])[-1].get("content"))
    for words, code in _REFUSALS.items():
        if words in last_words:
            return web.json_response({"error": {"message": f"{words}: refused", "code": code}}, status=400)
    message, finish = _message(body)
    head = {"id": "chatcmpl-1", "created": 1, "model": body.get("model")}
    if not body.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return web.json_response({**head, "object": "chat.completion", "choices": [choice], "usage": USAGE})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number, (delta, end) in enumerate(_deltas(message, finish)):
        if "slowly" in last_words:
            await asyncio.sleep(SLOW_SECONDS)
        if (
            number == CUT_AFTER
            and "cut" in last_words
            and body.get("model") == CUT_MODEL
            and request.transport is not None
        ):
            request.transport.close()
            return response
        choice = {"index": 0, "delta": delta, "finish_reason": end}
        await _send(response, {**head, "object": "chat.completion.chunk", "choices": [choice]})
    await _send(response, {**head, "object": "chat.completion.chunk", "choices": [], "usage": USAGE})
    await response.write(b"data: [DONE]\n\n")
    return response


async def _send(response: web.StreamResponse, chunk: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")


def _message(body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The message of the assistant, and why it ends."""
    messages = body.get("messages") or [{}]
    message: dict[str, Any] = {"role": "assistant", "content": TEXT}
    if body.get("reasoning_effort"):
        message["reasoning_content"] = "Dusk, then."
    form = body.get("response_format") or {}
    if tool := _demanded_tool(body, messages[-1]):
        arguments = json.dumps(_example(tool.get("parameters") or {}))
        function = {"name": tool["name"], "arguments": arguments}
        call = {"id": f"call_{len(messages)}", "type": "function", "function": function}
        return {**message, "content": None, "tool_calls": [call]}, "tool_calls"
    if form.get("type") == "json_schema":
        message["content"] = json.dumps(_example(form["json_schema"].get("schema") or {}))
    elif form.get("type") == "json_object":
        message["content"] = "{}"
    return message, "stop"


def _demanded_tool(body: dict[str, Any], last: dict[str, Any]) -> dict[str, Any] | None:
    """The tool that the request names, else its first one. None: it has none, or has the result of one."""
    tools = [tool["function"] for tool in body.get("tools") or ()]
    choice = body.get("tool_choice")
    if not tools or choice == "none" or last.get("role") == "tool":
        return None
    named = choice["function"]["name"] if isinstance(choice, dict) and "function" in choice else tools[0]["name"]
    return next((tool for tool in tools if tool["name"] == named), None)


def _example(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """A value that a JSON Schema accepts."""
    root = root or schema
    if "$ref" in schema:
        return _example((root.get("$defs") or {})[schema["$ref"].rsplit("/", 1)[-1]], root)
    if choices := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return _example(choices[0], root)
    if "const" in schema or schema.get("enum"):
        return schema["const"] if "const" in schema else schema["enum"][0]
    if schema.get("type") == "array":
        return [_example(schema.get("items") or {}, root)]
    if schema.get("type") in _EXAMPLES:
        return _EXAMPLES[schema["type"]]
    return {name: _example(value, root) for name, value in (schema.get("properties") or {}).items()}


def _deltas(message: dict[str, Any], finish: str) -> Iterator[tuple[dict[str, Any], str | None]]:
    yield {"role": "assistant", "content": ""}, None
    if thinking := message.get("reasoning_content"):
        yield {"reasoning_content": thinking}, None
    for number, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        yield {"tool_calls": [{**call, "index": number, "function": {**function, "arguments": ""}}]}, None
        half = len(function["arguments"]) // 2
        for text in (function["arguments"][:half], function["arguments"][half:]):
            yield {"tool_calls": [{"index": number, "function": {"arguments": text}}]}, None
    for word in (message["content"] or "").split(" "):
        yield {"content": word if word == (message["content"] or "").split(" ")[0] else f" {word}"}, None
    yield {}, finish
