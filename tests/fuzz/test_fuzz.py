"""A small run of the fuzz, and the kinds of faults that it has found."""

from __future__ import annotations

import asyncio
import json

import pytest

from openfall.producers.gateway.encoders.response_object import echo_of
from openfall.router_core.jobs.outcome import Completion
from openfall.router_core.jobs.pieces import TextPiece
from openfall.workers.backends.translate.json_values import safe_id
from tests.fuzz.differential import compare, read_by_sdk
from tests.fuzz.reading import read
from tests.fuzz.run import run
from tests.fuzz.samples import ANSWERS

pytestmark = pytest.mark.anyio


def _events(*events: object) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def _chunk(content: str | None, finish: str | None = None, index: object = 0) -> dict[str, object]:
    return {"choices": [{"index": index, "delta": {"content": content}, "finish_reason": finish}]}


async def _text(dialect: str, body: bytes, content_type: str = "text/event-stream") -> str:
    outcome, _ = await read(dialect, [body], content_type, streamed=True)
    assert isinstance(outcome, Completion), outcome
    return outcome.text


def test_no_mutation_raises_an_exception_that_is_not_documented() -> None:
    findings = asyncio.run(run(1500, seed=7))
    assert findings.counts == {}, findings.first


def test_no_sdk_reads_an_answer_that_the_product_does_not_read() -> None:
    assert asyncio.run(compare(300, seed=7)) == {}


async def test_the_sdks_of_the_comparison_do_read_valid_answers() -> None:
    for dialect in ("openai", "anthropic"):
        reading = await read_by_sdk(dialect, json.dumps(ANSWERS[dialect][0]).encode(), False)
        assert reading is not None
        assert reading.text == "It is sunny."


@pytest.mark.parametrize("end", ['data: "x"\n\n', "data: 1.5\n\n", "data: {broken\n\n", "data: [1]\n\n"])
async def test_an_answer_that_has_ended_is_whole_whatever_unreadable_event_follows(end: str) -> None:
    assert await _text("openai", _events(_chunk("It is sunny.", "stop")) + end.encode()) == "It is sunny."


async def test_an_unreadable_event_within_an_answer_is_a_failure() -> None:
    outcome, _ = await read("openai", [_events(_chunk("It is "), 3, _chunk("sunny", "stop"))], "text/event-stream")
    assert not isinstance(outcome, Completion)


async def test_a_stream_may_begin_with_a_field_that_is_no_known_one() -> None:
    assert await _text("openai", b"x-trace: 1\n" + _events(_chunk("sunny", "stop"))) == "sunny"


@pytest.mark.parametrize("index", [True, -1, None, "0", 1.5])
async def test_a_choice_with_a_malformed_index_is_the_first(index: object) -> None:
    body = _events(_chunk("It is ", index=index), _chunk("sunny", "stop"))
    outcome, pieces = await read("openai", [body], "text/event-stream", streamed=True)
    assert isinstance(outcome, Completion)
    assert outcome.text == "It is sunny"
    assert [piece.text for piece in pieces if isinstance(piece, TextPiece) and piece.choice == 0] == ["It is ", "sunny"]


async def test_choices_with_the_same_index_are_different_choices() -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice, choice]}).encode()
    _, pieces = await read("openai", [body], "application/json", streamed=True)
    assert [piece.choice for piece in pieces if isinstance(piece, TextPiece)] == [0, 1]


async def test_a_text_of_ollama_that_has_arrived_is_not_replaced_by_a_number() -> None:
    lines = [{"message": {"content": "sunny"}, "done": False}, {"message": {"content": 0}, "done": True}]
    body = "\n".join(map(json.dumps, lines)).encode()
    assert await _text("ollama", body, "application/x-ndjson") == "sunny"


async def test_a_block_of_anthropic_without_a_type_is_a_text() -> None:
    body = _events(
        {"type": "content_block_start", "index": 0, "content_block": {"type": None, "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "sunny"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    )
    assert await _text("anthropic", body) == "sunny"


@pytest.mark.parametrize("tools", [1, 1.5, True, "x", {"a": 1}])
def test_tools_of_a_wrong_type_are_echoed_as_none(tools: object) -> None:
    assert echo_of({"tools": tools})["tools"] == []


def test_an_id_with_half_a_character_becomes_a_safe_id() -> None:
    assert safe_id("\ud83d").startswith("_")
