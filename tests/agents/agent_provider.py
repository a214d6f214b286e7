"""A provider in Anthropic's and OpenAI's protocols that lets an agent run one shell command, and then answers.

It records every request as it arrived. A request without tools (a title, a count) gets the answer at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

ANSWER = "The lanterns are lit."
WORD = "lantern-4711"
"""What the command prints: the agent sends it back as the result of its tool."""
THINKING = 'Dusk first. "Quotes", \\ and ü\u2028 stay.'
SIGNATURE = "EqQBCkYIARgCKkA0aGlzIGlzIGEgc2lnbmF0dXJl+/=="

Body = dict[str, Any]


@dataclass
class AgentProvider:
    """`turns`: the bodies of the requests with tools. With a `gate` the answer after the tool stops in its middle
    until the gate opens; `waits` is set meanwhile."""

    url: str = ""
    turns: list[Body] = field(default_factory=list)
    others: list[tuple[str, Body]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    waits: asyncio.Event = field(default_factory=asyncio.Event)

    def clear(self, gate: asyncio.Event | None = None) -> None:
        """Forget all requests, before the next agent."""
        self.turns, self.others, self.gate, self.waits = [], [], gate, asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body: Body = json.loads(await request.read())
        tools = _tool_names(body)
        is_turn = bool(tools)
        self.turns += [body] if is_turn else []
        self.others += [] if is_turn else [(request.path, body)]
        has_result = WORD in json.dumps(body["messages"][1:])
        anthropic = request.path.endswith("/messages")
        call = None if has_result or not is_turn else (_shell(tools), {**_COMMANDS[_shell(tools)]})
        if not body.get("stream"):
            return web.json_response(_whole_message(body) if anthropic else _whole_completion(body))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for packed in _message_events(body, call) if anthropic else _chunks(body, call):
            if self.gate is not None and has_result and b"lit" in packed:
                self.waits.set()
                await self.gate.wait()
            await response.write(packed)
        return response


_COMMANDS: dict[str, Body] = {
    "Bash": {"command": f"echo {WORD}", "description": "Print a word"},
    "bash": {"command": f"echo {WORD}", "description": "Print a word"},
    "exec_command": {"cmd": f"echo {WORD}"},
    "shell": {"command": ["echo", WORD]},
    "shell_command": {"command": f"echo {WORD}"},
}
"""The tool of each agent that runs a command, and its arguments."""


@asynccontextmanager
async def agent_provider() -> AsyncIterator[AgentProvider]:
    provider = AgentProvider()
    app = web.Application(client_max_size=64 * 1024**2)
    app.router.add_post("/{path:.*}", provider.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield provider
    finally:
        await runner.cleanup()


def _tool_names(body: Body) -> list[str]:
    return [tool.get("name") or (tool.get("function") or {}).get("name") or "" for tool in body.get("tools") or ()]


def _shell(tools: list[str]) -> str:
    return next((name for name in tools if name in _COMMANDS), tools[0])


def _event(body: Body) -> bytes:
    return b"event: " + body["type"].encode() + b"\ndata: " + json.dumps(body).encode() + b"\n\n"


def _message(body: Body) -> Body:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 41, "output_tokens": 1},
    }  # fmt: skip


def _whole_message(body: Body) -> Body:
    return {**_message(body), "content": [{"type": "text", "text": ANSWER}], "stop_reason": "end_turn"}


def _message_events(body: Body, call: tuple[str, Body] | None) -> Iterator[bytes]:
    yield _event({"type": "message_start", "message": _message(body)})
    blocks: list[tuple[Body, list[Body]]] = []
    if body.get("thinking") and call is not None:
        deltas = [{"type": "thinking_delta", "thinking": text} for text in (THINKING[:9], THINKING[9:])]
        deltas.append({"type": "signature_delta", "signature": SIGNATURE})
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
    if call is None:
        words = [{"type": "text_delta", "text": text} for text in (ANSWER[:17], ANSWER[17:])]
        blocks.append(({"type": "text", "text": ""}, words))
    else:
        name, arguments = call
        packed = json.dumps(arguments)
        parts = [{"type": "input_json_delta", "partial_json": text} for text in (packed[:7], packed[7:])]
        blocks.append(({"type": "tool_use", "id": f"toolu_{len(body['messages'])}", "name": name, "input": {}}, parts))
    for index, (block, deltas) in enumerate(blocks):
        yield _event({"type": "content_block_start", "index": index, "content_block": block})
        for delta in deltas:
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        yield _event({"type": "content_block_stop", "index": index})
    reason = "end_turn" if call is None else "tool_use"
    end = {"stop_reason": reason, "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": end, "usage": {"output_tokens": 9}})
    yield _event({"type": "message_stop"})


_USAGE = {"prompt_tokens": 41, "completion_tokens": 9, "total_tokens": 50}


def _whole_completion(body: Body) -> Body:
    message = {"role": "assistant", "content": ANSWER}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice],
        "usage": _USAGE,
    }  # fmt: skip


def _chunks(body: Body, call: tuple[str, Body] | None) -> Iterator[bytes]:
    deltas: list[Body] = [{"role": "assistant", "content": ""}]
    if call is None:
        deltas += [{"content": ANSWER[:17]}, {"content": ANSWER[17:]}]
    else:
        name, arguments = call
        packed, call_id = json.dumps(arguments), f"call_{len(body['messages'])}"
        function = {"name": name, "arguments": ""}
        deltas.append({"tool_calls": [{"index": 0, "id": call_id, "type": "function", "function": function}]})
        parts = (packed[:7], packed[7:])
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": text}}]} for text in parts]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    ends: list[str | None] = [None] * len(deltas) + ["stop" if call is None else "tool_calls"]
    for delta, end in zip([*deltas, {}], ends, strict=True):
        choice = {"index": 0, "delta": delta, "finish_reason": end}
        yield b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"
    yield b"data: " + json.dumps({**head, "choices": [], "usage": _USAGE}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"
