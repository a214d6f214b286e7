"""A small run of the fuzz, and the kinds of faults that it has found."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from openfall.producers.gateway.encoders.chat_completion import text_completion
from openfall.producers.gateway.encoders.response_object import ResponseHead, echo_of
from openfall.router_core.jobs.outcome import Completion
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.jobs.stream_pieces import TextPiece, ThinkingPiece, ToolArguments
from openfall.workers.backends.translate import responses_request
from openfall.workers.backends.translate.json_values import safe_id
from openfall.workers.backends.translate.refusals import Unreadable
from tests.fuzz.differential import compare, read_by_sdk
from tests.fuzz.reading import read
from tests.fuzz.run import run
from tests.fuzz.samples import ANSWERS, STREAMS

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


@pytest.mark.parametrize("part", ['{"choices":', '"half', '[{"choices":[]'])
async def test_an_event_that_may_be_a_part_of_the_answer_and_is_unreadable_is_a_failure(part: str) -> None:
    body = _events(_chunk("It is ")) + f"data: {part}\n\n".encode() + _events(_chunk("sunny", "stop"))
    outcome, _ = await read("openai", [body], "text/event-stream")
    assert not isinstance(outcome, Completion)


@pytest.mark.parametrize("event", ["null", "3", '"ping"', "[]", "[null]", "keep-alive", "[HEARTBEAT]", "true", ""])
@pytest.mark.parametrize("dialect", ["openai", "anthropic", "ollama"])
async def test_an_event_that_is_no_object_costs_no_answer(dialect: str, event: str) -> None:
    sent = STREAMS[dialect][0]
    lines = [event if number == 2 else json.dumps(value) for number, value in enumerate([*sent[:2], None, *sent[2:]])]
    lines = ["[DONE]" if line == '"[DONE]"' else line for line in lines]
    body = "".join(f"{line}\n" if dialect == "ollama" else f"data: {line}\n\n" for line in lines).encode()
    assert (await _text(dialect, body, "application/x-ndjson" if dialect == "ollama" else "text/event-stream"))[
        :11
    ] == "It is sunny"


@pytest.mark.parametrize("index", [None, "1", 1.5, [], -1, True])
@pytest.mark.parametrize("event", ["content_block_start", "content_block_delta"])
async def test_a_block_of_anthropic_with_a_malformed_index_is_the_last(event: str, index: object) -> None:
    sent = [{**value, "index": index} if value["type"] == event else value for value in STREAMS["anthropic"][0]]
    outcome, pieces = await read("anthropic", [_events(*sent)], "text/event-stream", streamed=True)
    assert isinstance(outcome, Completion), outcome
    assert outcome.text == "It is sunny."
    assert outcome.body["content"][-1]["input"] == {"c": "Köln"}
    assert "".join(piece.text for piece in pieces if isinstance(piece, ToolArguments)) == '{"c":"Köln"}'


async def test_interleaved_inputs_of_anthropic_belong_to_the_calls_of_their_indexes() -> None:
    uses = [{"type": "tool_use", "id": f"t{number}", "name": "f", "input": {}} for number in (0, 1)]
    starts = [{"type": "content_block_start", "index": number, "content_block": use} for number, use in enumerate(uses)]
    deltas = [{"type": "content_block_delta", "index": number,
               "delta": {"type": "input_json_delta", "partial_json": text}}
              for number, text in ((0, '{"a":'), (1, '{"b":'), (0, "0}"), (1, "1}"))]  # fmt: skip
    end = [{"type": "message_delta", "delta": {"stop_reason": "tool_use"}}, {"type": "message_stop"}]
    outcome, pieces = await read("anthropic", [_events(*starts, *deltas, *end)], "text/event-stream", streamed=True)
    assert [block["input"] for block in outcome.body["content"]] == [{"a": 0}, {"b": 1}]
    streamed = ["".join(piece.text for piece in pieces if isinstance(piece, ToolArguments) and piece.call == call)
                for call in (0, 1)]  # fmt: skip
    assert streamed == ['{"a":0}', '{"b":1}']


async def test_a_text_under_the_index_of_another_block_is_a_block_of_its_own() -> None:
    thinking = {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "hm"}}
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "sunny"}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    outcome, pieces = await read("anthropic", [_events(thinking, text, end)], "text/event-stream", streamed=True)
    assert [block["type"] for block in outcome.body["content"]] == ["thinking", "text"]
    assert [piece.text for piece in pieces if isinstance(piece, TextPiece)] == ["sunny"]


async def test_the_whole_input_at_the_beginning_of_a_call_outlives_empty_deltas() -> None:
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {"c": 1}}
    body = _events(
        {"type": "content_block_start", "index": 0, "content_block": use},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ""}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    )
    outcome, pieces = await read("anthropic", [body], "text/event-stream", streamed=True)
    assert outcome.body["content"][0]["input"] == {"c": 1}
    assert [piece.text for piece in pieces if isinstance(piece, ToolArguments)] == ['{"c":1}']


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_an_unknown_field_between_two_events_ends_neither(end: str, size: int) -> None:
    body = (f"x-trace: 1{end}data: {json.dumps(_chunk('It is '))}{end}{end}x-trace: 2{end}"
            f"data: {json.dumps(_chunk('sunny', 'stop'))}{end}{end}").encode()  # fmt: skip
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    outcome, _ = await read("openai", parts, "text/event-stream", streamed=True)
    assert isinstance(outcome, Completion), outcome
    assert outcome.text == "It is sunny"


async def test_a_list_of_parts_in_a_line_of_ollama_is_read() -> None:
    lines = [{"message": {"content": "It is "}, "done": False},
             {"message": {"content": [{"type": "text", "text": "sunny"}]}, "done": True}]  # fmt: skip
    body = "\n".join(map(json.dumps, lines)).encode()
    assert await _text("ollama", body, "application/x-ndjson") == "It is sunny"


async def test_half_a_character_in_the_name_of_a_tool_can_be_written() -> None:
    call = {"index": 0, "id": "c\ud83d", "type": "function", "function": {"name": "f\ud83d", "arguments": "{}"}}
    body = _events({"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]})
    _, pieces = await read("openai", [body], "text/event-stream", streamed=True)
    for piece in pieces:
        str(piece).encode()


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


@pytest.mark.parametrize("kind", [{}, {"type": None}, {"type": "text"}])
async def test_a_part_of_a_response_without_its_type_has_that_of_its_item(kind: dict[str, Any]) -> None:
    output = [
        {"type": "reasoning", "summary": [{**kind, "text": "Dusk."}], "content": [{**kind, "text": "A lamp."}]},
        {"type": "message", "role": "assistant", "content": [{**kind, "text": "It is sunny."}]},
    ]
    body = json.dumps({"object": "response", "status": "completed", "output": output}).encode()
    outcome, pieces = await read("responses", [body], "application/json", streamed=True)
    assert isinstance(outcome, Completion)
    assert outcome.text == "It is sunny."
    assert [piece.text for piece in pieces if isinstance(piece, TextPiece)] == ["It is sunny."]
    assert [piece.text for piece in pieces if isinstance(piece, ThinkingPiece)] == ["Dusk.", "A lamp."]


@pytest.mark.parametrize("tools", [1, 1.5, True, "x", {"a": 1}])
def test_tools_of_a_wrong_type_are_echoed_as_none(tools: object) -> None:
    assert echo_of({"tools": tools})["tools"] == []


@pytest.mark.parametrize("text", [1, 1.5, ["x"], {"a": 1}])
def test_a_part_whose_text_is_none_is_refused(text: object) -> None:
    body = {"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}]}
    with pytest.raises(Unreadable):
        responses_request.request(body)


@pytest.mark.parametrize("count", ["12", None, {}, [1]])
def test_a_usage_that_is_no_number_costs_no_response(count: object) -> None:
    head = ResponseHead("j", "m", 1, echo_of({"model": "m"}))
    body = {**ANSWERS["responses"][0], "usage": {"input_tokens": count, "output_tokens": 4}}
    ended = head.ended(Result(id="j", status=Status.ANSWERED, body=body), {})
    assert ended["usage"]["output_tokens"] == 4


def test_the_text_of_a_legacy_completion_is_a_text_whatever_the_content_is() -> None:
    choices = [{"index": 0, "message": {"content": [{"type": "text", "text": "sunny"}]}}, "x"]
    result = Result(id="j", status=Status.ANSWERED, body={"choices": choices})
    assert [choice["text"] for choice in text_completion(result, "m", None)["choices"]] == ["sunny"]


def test_an_id_with_half_a_character_becomes_a_safe_id() -> None:
    assert safe_id("\ud83d").startswith("_")
