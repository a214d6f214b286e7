"""Tool calls that a provider streams in any shape arrive whole at the official clients of each API."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest

from tests.faults import Script, events, named_events, piece
from tests.native_responses import event as item_event
from tests.native_responses import events_of
from tests.producers.gateway.running_gateway import RunningGateway, open_gateway, run
from tests.producers.gateway.sdk_streams import USAGE, anthropic_client, openai_client
from tests.workers.backends.anthropic_calls import END, sse, start, stop

Calls = list[tuple[str, Any]]
DUSK, MOON = '{"at":"dusk"}', '{"to":"moon"}'
ONE: Calls = [("look", {"at": "dusk"})]
TWO: Calls = [*ONE, ("bow", {"to": "moon"})]
CONFIG = """
redis: {redis}
pools: {{gpu: {{local: yes}}}}
backends:
  rack: {{protocol: openai, url: "{upstream}", pool: gpu, slots: 64}}
  claude: {{protocol: anthropic, url: "{upstream}", pool: gpu, slots: 64}}
  native: {{protocol: openai, url: "{upstream}", pool: gpu, slots: 64, responses: yes}}
models:
  openai: {{upstream: a, backends: [rack]}}
  anthropic: {{upstream: b, backends: [claude]}}
  responses: {{upstream: c, backends: [native]}}
{models}{more}
"""


def _chunks(*calls: dict[str, Any], finish: str = "tool_calls") -> Script:
    return events(*[piece(**call) for call in calls], piece(finish), USAGE)


def _call(arguments: Any = None, index: int | None = 0, **more: Any) -> dict[str, Any]:
    function = {"name": name} if (name := more.pop("name", None)) else {}
    function |= {} if arguments is None else {"arguments": arguments}
    return {"tool_calls": [{"function": function, **({} if index is None else {"index": index}), **more}]}


def _look(arguments: Any = "", index: int | None = 0) -> dict[str, Any]:
    return _call(arguments, index, id="c1", name="look")


def _bow(arguments: Any = "", index: int | None = 1) -> dict[str, Any]:
    return _call(arguments, index, id="c2", name="bow")


OF_OPENAI: list[tuple[Script, Calls]] = [
    (_chunks(_look(), _bow(), _call('{"at":'), _call('{"to":', 1), _call('"dusk"}'), _call('"moon"}', 1)), TWO),
    (_chunks(_look(), _call('{"at":'), {"content": "hm"}, _call('"dusk"}')), ONE),
    (_chunks(_look(), _bow(MOON)), [("look", {}), TWO[1]]),
    (_chunks(_look(DUSK, None), _bow(MOON, None)), TWO),
    (_chunks(_look(DUSK), _bow(MOON, 0)), TWO),
    (_chunks(_call(DUSK), _call(id="c1", name="look")), ONE),
    (_chunks(_look("{'at': 'dusk'}"), _bow({"to": "moon"}), finish="stop"), TWO),
    (_chunks(_look(json.dumps(DUSK))), ONE),
]  # fmt: skip


def _begun(index: int, call_id: str, name: str) -> dict[str, Any]:
    block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
    return {"type": "content_block_start", "index": index, "content_block": block}


def _grown(index: int, text: str) -> dict[str, Any]:
    delta = {"type": "input_json_delta", "partial_json": text}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _ended(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


OF_ANTHROPIC: list[tuple[Script, Calls]] = [
    (sse(start(), _begun(0, "t1", "look"), _begun(1, "t2", "bow"), _grown(0, '{"at":'), _grown(1, MOON),
         _grown(0, '"dusk"}'), _ended(0), _ended(1), stop("tool_use"), END), TWO),
    (sse(start(), _begun(0, "t1", "look"), _ended(0), _begun(1, "t2", "bow"), _grown(1, MOON), _ended(1),
         stop("tool_use"), END), [("look", {}), TWO[1]]),
]  # fmt: skip


def _item(number: int, name: str, arguments: str) -> dict[str, Any]:
    head = {"id": f"fc_{number}", "type": "function_call", "call_id": f"c{number}", "name": name}
    return {**head, "arguments": arguments, "status": "completed" if arguments else "in_progress"}


def _interleaved_items() -> Script:
    look, bow = _item(0, "look", DUSK), _item(1, "bow", MOON)
    first, *_, last = events_of(look, bow)
    return named_events(
        first,
        *(item_event("output_item.added", number, item=_item(number, name, ""))
          for number, name in enumerate(("look", "bow"))),
        *(item_event("function_call_arguments.delta", number, item_id=f"fc_{number}", delta=text)
          for number, text in ((0, DUSK[:6]), (1, MOON), (0, DUSK[6:]))),
        *(item_event("output_item.done", number, item=item) for number, item in enumerate((look, bow))),
        last,
    )  # fmt: skip


OF_RESPONSES: list[tuple[Script, Calls]] = [(_interleaved_items(), TWO)]

_MESSAGES: Iterator[Any] = ([{"role": "user", "content": f"Haruka waves {number}"}] for number in range(1000))
"""Requests of which none equals another one, so that none is joined."""


async def _of_chat(gateway: RunningGateway, model: str) -> Calls:
    """openai-python reads a call as complete when another one begins, and fails if it is not."""
    async with (
        openai_client(gateway) as client,
        client.chat.completions.stream(model=model, messages=next(_MESSAGES)) as stream,
    ):
        done = [event async for event in stream if event.type == "tool_calls.function.arguments.done"]
        (choice,) = (await stream.get_final_completion()).choices
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or []]
    assert [(event.name, json.loads(event.arguments)) for event in done] == calls
    assert choice.finish_reason == "tool_calls"
    return calls


async def _of_responses(gateway: RunningGateway, model: str) -> Calls:
    async with (
        openai_client(gateway) as client,
        client.responses.stream(model=model, input=next(_MESSAGES)) as stream,
    ):
        done = [event.item async for event in stream if event.type == "response.output_item.done"]
        items = (await stream.get_final_response()).output
    calls, streamed = ([item for item in each if item.type == "function_call"] for each in (items, done))
    assert [(call.id, call.arguments) for call in calls] == [(call.id, call.arguments) for call in streamed]
    return [(call.name, json.loads(call.arguments)) for call in calls]


async def _of_messages(gateway: RunningGateway, model: str) -> Calls:
    request: Any = {"model": model, "max_tokens": 64, "messages": next(_MESSAGES)}
    open_block = None
    async with anthropic_client(gateway) as client, client.messages.stream(**request) as stream:
        async for event in stream:
            if event.type == "content_block_start":
                assert open_block is None
                open_block = event.index
            elif event.type == "content_block_delta":
                assert event.index == open_block
            elif event.type == "content_block_stop":
                open_block = None
        content = (await stream.get_final_message()).content
    return [(block.name, block.input) for block in content if block.type == "tool_use"]


async def _of_ollama(gateway: RunningGateway, model: str) -> Calls:
    async with ollama.AsyncClient(host=gateway.url) as client:
        parts = await client.chat(model=model, messages=next(_MESSAGES), stream=True)
        calls = [call.function async for part in parts for call in part.message.tool_calls or ()]
    return [(call.name, dict(call.arguments)) for call in calls]


Reader = Callable[[RunningGateway, str], Awaitable[Calls]]


@pytest.mark.parametrize(
    ("read", "models"),
    [
        pytest.param(_of_chat, {"openai": OF_OPENAI, "anthropic": OF_ANTHROPIC}, id="chat completions"),
        pytest.param(
            _of_responses,
            {"openai": OF_OPENAI, "anthropic": OF_ANTHROPIC, "responses": OF_RESPONSES},
            id="responses",
        ),
        pytest.param(_of_messages, {"openai": OF_OPENAI, "anthropic": OF_ANTHROPIC}, id="messages"),
        pytest.param(_of_ollama, {"openai": OF_OPENAI, "anthropic": OF_ANTHROPIC}, id="ollama"),
    ],
)
def test_a_client_reads_the_calls_of_any_stream(
    redis_url: str, tmp_path: Path, read: Reader, models: dict[str, list[tuple[Script, Calls]]]
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, events(USAGE), config=CONFIG) as gateway:
            for model, shapes in models.items():
                for number, (script, expected) in enumerate(shapes):
                    gateway.upstream.scripts[:] = [script]
                    assert await read(gateway, model) == expected, (model, number)

    run(main)
