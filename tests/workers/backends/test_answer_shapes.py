"""Answers in every shape in which providers write them: none is lost, none is taken for whole that is not."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.request_body import answer_text
from openfall.router_core.jobs.stream_pieces import ToolArguments, text_of
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.anthropic_answer import MessageAssembler, parse_message
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.exact_json import dumps, loads
from openfall.workers.backends.framing import NdjsonFraming, SseFraming
from openfall.workers.backends.ollama_answer import ChatAssembler, parse_chat
from openfall.workers.backends.openai_answer import CompletionAssembler, parse_completion, to_outcome
from openfall.workers.backends.translate import translate_request, translate_response
from tests.workers.backends.assembled import assemble_events

HUGE = 115792089237316195423570985008687907853269984665640564039457584007913129639935
"""The largest amount of 256 bits, as it stands in calls of tools."""


def answered(outcome: Outcome) -> Completion:
    assert isinstance(outcome, Completion), outcome
    return outcome


def completion(message: dict[str, Any], finish: Any = "stop") -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}


def chunk(finish: Any = None, **delta: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def sse(*chunks: Any, done: bool = True) -> bytes:
    lines = [b"data: " + (piece if isinstance(piece, bytes) else orjson.dumps(piece)) for piece in chunks]
    return b"".join(line + b"\n\n" for line in [*lines, *([b"data: [DONE]"] if done else [])])


def streamed(*chunks: Any, done: bool = True) -> Outcome:
    return assemble_events(sse(*chunks, done=done), SseFraming(), CompletionAssembler())


def call_piece(
    index: int | None, arguments: Any, call_id: str | None = None, name: str | None = None
) -> dict[str, Any]:
    call = {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
    return chunk(tool_calls=[{key: value for key, value in call.items() if value is not None}])


def calls_of(outcome: Outcome) -> list[tuple[str | None, str, str]]:
    calls = answered(outcome).body["choices"][0]["message"]["tool_calls"]
    return [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls]


CONTENTS: dict[str, Any] = {
    "a text": "A lantern",
    "parts": [{"type": "text", "text": "A "}, {"type": "text", "text": "lantern"}],
    "parts after reasoning": [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "A lantern"},
    ],
    "a part of the newer API": [{"type": "output_text", "text": "A lantern"}],
    "a part without a type": [{"text": "A lantern"}],
}  # fmt: skip


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_a_content_of_every_shape_is_read(content: Any) -> None:
    whole = answered(to_outcome(completion({"role": "assistant", "content": content})))
    pieces = answered(streamed(chunk(content=content), chunk("stop")))
    assert (whole.text, pieces.text) == ("A lantern", "A lantern")
    assert answer_text(pieces.body) == answer_text(whole.body) == "A lantern"


def test_the_text_of_an_older_completion_is_read() -> None:
    assert answered(to_outcome({"choices": [{"text": "A", "finish_reason": "stop"}]})).text == "A"
    pieces = [{"choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in "AB"]
    assert answered(streamed(*pieces, chunk("stop"))).text == "AB"


def test_arguments_that_are_an_object_become_their_text() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": HUGE}}}
    assert calls_of(to_outcome(completion({"content": None, "tool_calls": [call]}, "tool_calls"))) == [
        ("c", "f", f'{{"a":{HUGE}}}')
    ]


def test_reasoning_within_the_parts_of_a_stream_is_kept() -> None:
    outcome = answered(streamed(chunk(content=CONTENTS["parts after reasoning"]), chunk(content="!"), chunk("stop")))
    message = outcome.body["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Hm.", "A lantern!")


def test_a_caller_gets_a_text_for_an_answer_of_reasoning_alone() -> None:
    outcome = answered(to_outcome(completion({"role": "assistant", "content": None, "reasoning_content": "It is 4."})))
    assert (outcome.text, answer_text(outcome.body)) == ("", "It is 4.")


@pytest.mark.parametrize("content", [None, "", [], [{"type": "refusal", "refusal": "I cannot."}]])
def test_a_refusal_is_reported_as_one(content: Any) -> None:
    message = {"role": "assistant", "content": content, "refusal": "I cannot help with that."}
    outcomes = (to_outcome(completion(message)), streamed(chunk(refusal="I can"), chunk(refusal="not"), chunk("stop")))
    for outcome in outcomes:
        assert isinstance(outcome, Failure)
        assert (outcome.error_class, outcome.detail) == (E.CONTENT_FILTER, "the model refused to answer")


FINISHES = {
    "STOP": "stop", "eos": "stop", "end_turn": "stop", "FinishReason.STOP": "stop", "COMPLETE": "stop",
    "MAX_TOKENS": "length", "max_output_tokens": "length", "tool_use": "tool_calls",
    "content_filter: PROHIBITED_CONTENT": E.CONTENT_FILTER, "SAFETY": E.CONTENT_FILTER, "sensitive": E.CONTENT_FILTER,
    "RECITATION": E.CONTENT_FILTER, "model_context_window_exceeded": E.CONTEXT_OVERFLOW,
    "function_call_filter: MALFORMED_FUNCTION_CALL": E.INVALID_OUTPUT, "network_error": E.OVERLOADED,
    "insufficient_system_resource": E.OVERLOADED, "repetition": E.INVALID_OUTPUT, "null": "stop",
    "abort": E.OVERLOADED, "cosmic_ray": E.MALFORMED, "7": E.MALFORMED,
}  # fmt: skip


@pytest.mark.parametrize(("reason", "meant"), FINISHES.items())
def test_a_finish_reason_is_known_or_no_success(reason: str, meant: Any) -> None:
    for outcome in (to_outcome(completion({"content": "A"}, reason)), streamed(chunk(reason, content="A"))):
        known = outcome.finish_reason if isinstance(outcome, Completion) else outcome.error_class
        assert known == meant


def test_an_answer_without_a_message_whose_limit_is_used_up_is_a_cut_answer() -> None:
    outcome = answered(to_outcome({"choices": [{"index": 0, "finish_reason": "length"}]}))
    assert (outcome.text, outcome.finish_reason) == ("", "length")


@pytest.mark.parametrize("arguments", [None, {}])
def test_a_call_without_arguments_has_an_empty_object(arguments: Any) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    assert calls_of(to_outcome(completion({"content": None, "tool_calls": [call]}))) == [("a", "f", "{}")]


@pytest.mark.parametrize("error", [{"code": 0, "message": ""}, {"message": None, "code": None}, {}, "", [], 0])
def test_an_error_that_says_nothing_costs_no_answer(error: Any) -> None:
    body = dumps({**completion({"content": "A"}), "error": error})
    assert answered(parse_completion(body, {})).text == "A"


@pytest.mark.parametrize(
    ("body", "meant", "words"),
    [
        ({"code": 1261, "msg": "Prompt exceeds max length", "success": False}, E.CONTEXT_OVERFLOW, "1261: Prompt"),
        ({"detail": "Not allowed"}, E.MALFORMED, "Not allowed"),
        ({"message": "Too many requests", "status": "fail"}, E.RATE_LIMITED, "Too many requests"),
        ({"result": None}, E.MALFORMED, "the answer has no choices"),
        ({"choices": []}, E.MALFORMED, "the answer has no choices"),
        ({"choices": [], "usage": {"prompt_tokens": 9}}, E.INVALID_OUTPUT, "the answer is empty"),
        ({"choices": [], "usage": {"completion_tokens": 9}}, E.MALFORMED, "the answer has no choices"),
        ({"choices": [], "promptFeedback": {"blockReason": "OTHER"}}, E.CONTENT_FILTER, "the provider's filter"),
    ],
)
def test_an_error_in_place_of_an_answer_is_read_in_its_words(body: Any, meant: E, words: str) -> None:
    outcome = parse_completion(dumps(body), {})
    assert isinstance(outcome, Failure)
    assert outcome.error_class is meant
    assert words in outcome.detail


@pytest.mark.parametrize(
    ("content", "reason", "finish"),
    [(None, "end_turn", "end_turn"), ([{"type": "compaction", "content": "x"}], "compaction", "compaction")],
)
def test_a_message_that_is_empty_or_was_compacted_is_an_answer(content: Any, reason: str, finish: str) -> None:
    outcome = parse_message(dumps({"type": "message", "content": content, "stop_reason": reason}), {})
    assert answered(outcome).finish_reason == finish


def test_a_piece_with_another_id_under_the_same_index_is_another_call() -> None:
    whole = [call_piece(0, f'{{"city":"{city}"}}', f"call_{city}", "weather") for city in "abc"]
    assert calls_of(streamed(*whole, chunk("tool_calls"))) == [
        (f"call_{city}", "weather", f'{{"city":"{city}"}}') for city in "abc"
    ]


def test_whole_calls_without_ids_under_one_index_are_several_calls() -> None:
    pieces = [call_piece(0, "{}", "", "first"), call_piece(0, '{"a":1}', "", "second")]
    assert [name for _, name, _ in calls_of(streamed(*pieces, chunk("tool_calls")))] == ["first", "second"]


def test_pieces_of_one_call_stay_one_call_whatever_their_ids() -> None:
    pieces = [call_piece(0, '{"a"', "x1", "f"), call_piece(0, ":", "x2"), call_piece(0, "1}", "x1", "f")]
    assert calls_of(streamed(*pieces, chunk("tool_calls"))) == [("x1", "f", '{"a":1}')]


def test_interleaved_pieces_belong_to_the_call_of_their_index() -> None:
    pieces = [
        call_piece(1, '{"a"', "x", "f"),
        call_piece(2, '{"b"', "y", "g"),
        call_piece(1, ":1}"),
        call_piece(2, ":2}"),
    ]
    assert calls_of(streamed(*pieces, chunk("tool_calls"))) == [("x", "f", '{"a":1}'), ("y", "g", '{"b":2}')]


def test_pieces_without_an_index_belong_to_the_call_of_their_id() -> None:
    pieces = [call_piece(None, '{"a"', "x", "f"), call_piece(None, "{}", "y", "g"), call_piece(None, ":1}", "x")]
    assert calls_of(streamed(*pieces, chunk("tool_calls"))) == [("x", "f", '{"a":1}'), ("y", "g", "{}")]


def test_an_older_function_call_and_lists_arrive_in_pieces() -> None:
    outcome = answered(
        streamed(
            chunk(function_call={"name": "f", "arguments": '{"a"'}, annotations=[1]),
            chunk(function_call={"arguments": ":1}"}, annotations=[2]),
            chunk("function_call"),
        )
    )
    message = outcome.body["choices"][0]["message"]
    assert message["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert message["annotations"] == [1, 2]


def test_blocks_of_anthropic_under_one_index_are_several_blocks() -> None:
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"content": [], "stop_reason": None}}]
    for call_id in "ab":
        block = {"type": "tool_use", "id": call_id, "name": "f", "input": {}}
        delta = {"type": "input_json_delta", "partial_json": f'{{"id":"{call_id}"}}'}
        events.append({"type": "content_block_start", "index": 0, "content_block": block})
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    events.append({"type": "message_stop"})
    outcome = answered(assemble_events(sse(*events, done=False), SseFraming(), MessageAssembler()))
    assert [block["input"] for block in outcome.body["content"]] == [{"id": "a"}, {"id": "b"}]
    assert outcome.finish_reason == "tool_use"


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, HUGE, 2512292042121000001])
def test_a_long_integer_in_a_tool_call_is_exact_in_every_dialect(number: int) -> None:
    arguments = f'{{"wei":{number}}}'
    call = {"id": "c1", "type": "function", "function": {"name": "send", "arguments": arguments}}
    outcome = parse_completion(dumps(completion({"content": None, "tool_calls": [call]}, "tool_calls")), {})
    for dialect in ("anthropic", "ollama"):
        request = Request(body={"messages": []}, upstream="m", timeout=1, dialect=dialect)
        body = answered(translate_response(outcome, request, "openai")).body
        assert loads(dumps(body)) == body
        assert f'"wei":{number}'.encode() in dumps(body)
    turn = {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {"wei": number}}]}
    request = Request(body={"messages": [turn]}, upstream="m", timeout=1, dialect="anthropic")
    assert str(number).encode() in dumps(translate_request(request, "openai"))


def half(escaped: bytes, finish: bytes = b"null") -> bytes:
    return b'{"choices":[{"index":0,"delta":{"content":"' + escaped + b'"},"finish_reason":' + finish + b"}]}"


def test_the_halves_of_a_character_are_put_together() -> None:
    assembler, pieces = CompletionAssembler(), [half(rb"A \ud83c"), half(rb"\udf89!"), half(b"", b'"stop"')]
    assert [text_of(assembler.add(piece)) for piece in pieces] == ["A ", "\U0001f389!", ""]
    assert answered(assembler.outcome()).text == "A \U0001f389!"


def test_half_a_character_costs_no_answer() -> None:
    whole = b'{"choices":[{"message":{"content":"cut \\ud83c"},"finish_reason":"length"}]}'
    assert answered(parse_completion(whole, {})).text == "cut \ufffd"
    assert answered(streamed(half(rb"cut \ud83c"), half(b"", b'"length"'))).text == "cut \ufffd"
    line = b'{"message":{"content":"cut \\ud83c"},"done":true,"done_reason":"length"}'
    assert answered(assemble_events(line, NdjsonFraming(), ChatAssembler())).text == "cut \ufffd"
    assert answered(parse_chat(b'{"message":{"content":"\xff"},"done":true}', {})).text == "\ufffd"


def test_half_a_character_in_arguments_that_wait_for_the_end_of_the_stream_costs_no_answer() -> None:
    function = rb'{"name":"f","arguments":"\"a \ud83d b\""}'
    assembler = CompletionAssembler()
    assembler.add(b'{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":' + function + b"}]}}]}")
    arguments = [piece.text for piece in assembler.add(b"[DONE]") if isinstance(piece, ToolArguments)]
    assert len(arguments) == 1
    assert "a \ufffd b" in arguments[0]


@pytest.mark.parametrize("odd", [b'{"a":NaN}', b'{"a":-Infinity}', b'\xef\xbb\xbf{"a":null}'])
def test_json_as_some_servers_write_it_is_read(odd: bytes) -> None:
    assert loads(odd) == {"a": None}


@pytest.mark.parametrize("bad", [b"", b"{", b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}"])
def test_a_text_that_is_no_json_is_a_value_error(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        loads(bad)


EVENTS = [chunk(content="Do NOT "), chunk(content="press."), chunk("stop")]
WRAPPINGS = {
    "a byte-order mark": b"\xef\xbb\xbf" + sse(*EVENTS),
    "carriage returns": sse(*EVENTS).replace(b"\n", b"\r"),
    "both": sse(*EVENTS).replace(b"\n", b"\r\n"),
    "no empty lines": sse(*EVENTS).replace(b"\n\n", b"\n"),
    "no `data:`": sse(*EVENTS, done=False).replace(b"data: ", b""),
    "comments first": b": OPENROUTER PROCESSING\n\n" + sse(*EVENTS),
    "no finish reason but [DONE]": sse(*EVENTS[:2]),
    "a whole message at the end": sse(*EVENTS[:2], completion({"role": "assistant", "content": "Do NOT press."})),
    "a whole message in one event": sse(completion({"role": "assistant", "content": "Do NOT press."})),
}


@pytest.mark.parametrize("stream", WRAPPINGS.values(), ids=WRAPPINGS.keys())
def test_a_stream_in_every_wrapping_is_the_whole_answer(stream: bytes) -> None:
    for size in (1, 7, len(stream)):
        framing, assembler, text = SseFraming(), CompletionAssembler(), ""
        for start in range(0, len(stream), size):
            for event in framing.feed(stream[start : start + size]):
                text += "" if assembler.ended else text_of(assembler.add(event))
        for event in framing.end():
            text += "" if assembler.ended else text_of(assembler.add(event))
        assert answered(assembler.outcome()).text == text == "Do NOT press."


@pytest.mark.parametrize("stream", [sse(*EVENTS), b"\n" + sse(*EVENTS), b"\xef\xbb\xbf" + sse(*EVENTS)])
def test_a_stream_without_a_request_for_it_is_an_answer(stream: bytes) -> None:
    assert answered(assemble_events(stream, SseFraming(), CompletionAssembler())).text == "Do NOT press."
    cut = streamed(*EVENTS[:2], done=False)
    assert isinstance(cut, Failure)
    assert cut.error_class is E.MALFORMED


def test_a_stream_of_anthropic_without_a_request_for_it_is_an_answer() -> None:
    events = [
        {"type": "message_start", "message": {"content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "A"}},
        {"type": "message_stop"},
    ]
    outcome = answered(assemble_events(sse(*events, done=False), SseFraming(), MessageAssembler()))
    assert (outcome.text, outcome.finish_reason) == ("A", "end_turn")


@pytest.mark.parametrize("content", ["A", [{"type": "text", "text": "A"}]])
def test_a_message_of_an_imitator_of_anthropic_is_read(content: Any) -> None:
    outcome = answered(parse_message(orjson.dumps({"content": content, "stop_reason": "length"}), {}))
    assert (outcome.text, outcome.finish_reason) == ("A", "max_tokens")
