"""A streamed Response whose last event has no output is what the events before it said."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from openfall.router_core.jobs.outcome import Completion
from openfall.router_core.jobs.stream_pieces import ToolArguments, text_of
from tests.fuzz.reading import read

END = {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}}


def call(call_id: str, arguments: str = "", **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "look", "arguments": arguments, **more}


def added(item: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "response.output_item.added", "item": item, **more}


def ended(item: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "response.output_item.done", "item": item, **more}


def text(delta: str, **more: Any) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "delta": delta, **more}


def arguments(delta: str, **more: Any) -> dict[str, Any]:
    return {"type": "response.function_call_arguments.delta", "delta": delta, **more}


MESSAGE = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi you"}]}
TWO_CALLS = [("c1", '{"a":1}'), ("c2", '{"a":2}')]
STREAMS = {
    "items that have no end": ([added({"type": "message"}, output_index=0), text("Hi", output_index=0),
                                text(" you", output_index=0)], "Hi you", []),
    "texts alone": ([text("Hi"), text(" you")], "Hi you", []),
    "an end without a number": ([ended(MESSAGE)], "Hi you", []),
    "numbers as texts": ([text("Hi", output_index="0"), text(" you", output_index="0")], "Hi you", []),
    "calls by the ids of their items": ([added(call("c1", id="i1")), added(call("c2", id="i2")),
                                         arguments('{"a":1}', item_id="i1"), arguments('{"a":2}', item_id="i2")],
                                        "", TWO_CALLS),
    "calls by their own ids": ([added(call("c1")), arguments('{"a":1}', item_id="c1"), added(call("c2")),
                                arguments('{"a":2}', item_id="c2")], "", TWO_CALLS),
    "calls one after another": ([added(call("c1")), arguments('{"a":1}'), added(call("c2")), arguments('{"a":2}')],
                                "", TWO_CALLS),
    "ends of calls alone": ([ended(call("c1", '{"a":1}')), ended(call("c2", '{"a":2}'))], "", TWO_CALLS),
    "a text before its call": ([text("Hi you"), ended(MESSAGE), added(call("c1")), arguments('{"a":1}')],
                               "Hi you", TWO_CALLS[:1]),
    "a thought before its text": ([{"type": "response.reasoning_summary_text.delta", "delta": "hm", "output_index": 0},
                                   text("Hi you", output_index=1)], "Hi you", []),
}  # fmt: skip


@pytest.mark.parametrize(("events", "whole", "calls"), STREAMS.values(), ids=STREAMS.keys())
def test_an_answer_is_put_together_from_its_events(
    events: list[dict[str, Any]], whole: str, calls: list[tuple[str, str]]
) -> None:
    body = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in (*events, END))
    outcome, pieces = asyncio.run(read("responses", [body], "text/event-stream", streamed=True))
    assert isinstance(outcome, Completion), outcome
    items = [item for item in outcome.body["output"] if item["type"] == "function_call"]
    assert (outcome.text, [(item["call_id"], item["arguments"]) for item in items]) == (whole, calls)
    assert text_of(pieces) == whole
    assert [(piece.call, piece.text) for piece in pieces if isinstance(piece, ToolArguments)] == [
        (number, written) for number, (_, written) in enumerate(calls)
    ]
