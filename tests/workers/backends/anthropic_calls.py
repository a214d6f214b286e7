"""Calls of the Anthropic backend to a server of the test, and the messages and events that it sends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from openfall.router_core.jobs.outcome import Outcome
from openfall.workers.backends.anthropic_client import AnthropicBackend
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.transport import Transport
from tests.faults import FaultServer, Script, answer, fault_server, head, raw
from tests.workers.backends.openai_calls import run
from tests.workers.backends.received import texts_into

KEY = "sk-ant-of-a-very-secret-kind"
PROMPT = "Haruka greets the festival crowd"
REQUEST_BODY: dict[str, Any] = {"max_tokens": 64, "messages": [{"role": "user", "content": PROMPT}]}
USAGE = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 18,
    "output_tokens": 5,
    "service_tier": "standard",
}
MESSAGE: dict[str, Any] = {
    "id": "msg_01",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-6",
    "content": [{"type": "text", "text": "A lantern "}, {"type": "text", "text": "festival."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}


def served(
    *scripts: Script, deltas: list[str] | None = None, version: str | None = None, **fields: Any
) -> tuple[Outcome, FaultServer]:
    """The outcome of one call, and the server after it. With `deltas` it is streamed."""

    async def work() -> tuple[Outcome, FaultServer]:
        async with fault_server(*scripts) as server:
            backend = AnthropicBackend(server.url, KEY, Transport(keep_alive=True), version=version)
            request = Request(
                **{"body": REQUEST_BODY, "upstream": "claude", "timeout": 10, "dialect": "anthropic", "max_tokens": 77}
                | fields
            )
            try:
                outcome = await backend.complete(request, texts_into(deltas))
            finally:
                await backend.close()
            return outcome, server

    return run(work())


def sent(**fields: Any) -> dict[str, Any]:
    """The body that reaches the server."""
    _, server = served(answer(MESSAGE), **fields)
    body: dict[str, Any] = orjson.loads(server.calls_received[0].body)
    return body


def sse(*events: dict[str, Any], newline: bytes = b"\n", last: bytes = b"") -> Script:
    """A stream as Anthropic writes it: each event named, and its data."""
    data = b"".join(
        b"event: " + event["type"].encode() + newline + b"data: " + orjson.dumps(event) + newline * 2
        for event in events
    )
    return raw(head(200, None, {"Content-Type": "text/event-stream; charset=utf-8"}) + data + last)


def start(**usage: int) -> dict[str, Any]:
    message = MESSAGE | {"content": [], "stop_reason": None, "usage": USAGE | {"output_tokens": 1} | usage}
    return {"type": "message_start", "message": message}


def block(index: int, content: dict[str, Any], *deltas: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "content_block_start", "index": index, "content_block": content}
    yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
    yield {"type": "content_block_stop", "index": index}


def stop(reason: str, **more: Any) -> dict[str, Any]:
    delta = {"stop_reason": reason, "stop_sequence": None, **more}
    return {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5, "input_tokens": None}}


END = {"type": "message_stop"}
PING = {"type": "ping"}
HELLO = tuple(block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hello"}))
