"""Answers that are neither a text nor the call of a function: each is read whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openfall.producers.gateway.encoders import sse
from openfall.producers.gateway.encoders.ollama_chat import OllamaAnswer, line
from openfall.producers.gateway.encoders.sent_pieces import SentPieces
from openfall.router_core.jobs.outcome import Completion
from openfall.router_core.jobs.pieces_from_response import pieces_of_answer
from openfall.router_core.jobs.request_body import answer_text
from openfall.router_core.jobs.stream_pieces import TextPiece, ThinkingPiece, ToolArguments
from openfall.workers.backends.openai_answer import CompletionAssembler
from openfall.workers.backends.translate.older_functions import with_newer_calls


def _assembled(*deltas: dict[str, Any], finish: str) -> dict[str, Any]:
    """The message that a stream gives."""
    assembler = CompletionAssembler()
    for delta in (*deltas, {}):
        choice = {"index": 0, "delta": delta, "finish_reason": None if delta else finish}
        assembler.add(json.dumps({"choices": [choice]}).encode())
    outcome = assembler.outcome()
    assert isinstance(outcome, Completion)
    message: dict[str, Any] = outcome.body["choices"][0]["message"]
    return message


def _custom(index: int, call_id: str | None, name: str | None, text: str) -> dict[str, Any]:
    begun = {"id": call_id, "type": "custom"} if call_id else {}
    return {"index": index, **begun, "custom": {**({"name": name} if name else {}), "input": text}}


def test_the_input_of_a_custom_tool_is_put_together_and_no_function_is_added() -> None:
    function = {"index": 2, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    rest = {"function": {"arguments": '{"a":1}'}}
    message = _assembled(
        {"role": "assistant", "content": None, "tool_calls": [_custom(0, "a", "shell", "")]},
        {"tool_calls": [_custom(0, None, None, "ls ")]},
        {"tool_calls": [_custom(0, None, None, "-l")]},
        {"tool_calls": [_custom(1, "b", "shell", "pwd")]},
        {"tool_calls": [function]},
        {"tool_calls": [rest]},
        finish="tool_calls",
    )
    assert message["tool_calls"] == [
        {"id": "a", "type": "custom", "custom": {"name": "shell", "input": "ls -l"}},
        {"id": "b", "type": "custom", "custom": {"name": "shell", "input": "pwd"}},
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
    ]


def test_another_custom_call_under_the_same_index_is_another_call() -> None:
    calls = [{"tool_calls": [_custom(0, call_id, "shell", call_id)]} for call_id in ("a", "b")]
    message = _assembled(*calls, finish="tool_calls")
    assert [call["custom"]["input"] for call in message["tool_calls"]] == ["a", "b"]


def test_the_text_of_a_sound_is_its_transcript() -> None:
    pieces = [{"audio": {"id": "x", "transcript": "Good "}}, {"audio": {"transcript": "morning"}}]
    message = _assembled(*pieces, finish="stop")
    assert answer_text({"choices": [{"message": message}]}) == "Good morning"
    assert answer_text({"choices": [{"message": {**message, "content": "Hello"}}]}) == "Hello"
    assert answer_text({"choices": [{"message": {"content": None, "audio": {"transcript": 5}}}]}) == ""


INPUT = {"path": "a b.txt", "n": [1, 2.0], "é": 'say "\\x"'}
SPELLINGS = (
    json.dumps(INPUT),
    json.dumps(INPUT, ensure_ascii=False),
    json.dumps(INPUT, separators=(",", ":"), ensure_ascii=False),
    json.dumps(INPUT, indent=2, ensure_ascii=False),
)


@pytest.mark.parametrize("spelling", SPELLINGS, ids=["escaped", "spaced", "compact", "indented"])
def test_the_arguments_of_a_streamed_call_reach_a_caller_of_messages_once_however_they_are_written(
    spelling: str,
) -> None:
    body = {"content": [{"type": "tool_use", "id": "c", "name": "f", "input": INPUT}]}
    start, whole = pieces_of_answer(body, "anthropic")
    assert isinstance(whole, ToolArguments)
    for end in (0, 1, 9, len(spelling) // 2, len(spelling) - 1, len(spelling)):
        sent = SentPieces()
        sent.add([start, ToolArguments(0, 0, spelling[:end])] if end else [start])
        rest = "".join(piece.text for piece in sent.rest([start, whole]) if isinstance(piece, ToolArguments))
        is_known = end == len(spelling) or "\\u" not in spelling[:end]
        assert not is_known or json.loads(spelling[:end] + rest) == INPUT, (end, rest)


OLDER = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}}


def test_the_call_of_a_function_in_the_older_form_is_a_tool_call_for_a_caller_of_tools() -> None:
    body = {"choices": [{"index": 0, "message": OLDER, "finish_reason": "function_call"}]}
    call = {"type": "function", "function": OLDER["function_call"]}
    newer = {"role": "assistant", "content": None, "tool_calls": [call]}
    expected = {"choices": [{"index": 0, "message": newer, "finish_reason": "tool_calls"}]}
    assert with_newer_calls(body, {"tools": [{}]}) == expected
    assert with_newer_calls(body, {"functions": [{}]}) is body
    assert with_newer_calls(expected, {"tools": [{}]}) is expected


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e", "\r", "\n"])
def test_a_line_of_a_stream_is_one_line_for_every_reader(sign: str) -> None:
    body = {"text": f"a{sign}b \N{RIGHT DOUBLE QUOTATION MARK}"}
    for packed in (line(body), sse.data(body).removeprefix(b"data: ").rstrip()):
        assert len(packed.decode().splitlines()) == 1
        assert json.loads(packed) == body


def test_a_caller_of_ollama_gets_the_first_of_several_choices() -> None:
    answer = OllamaAnswer(asked_for="m", created_at="2026-01-01T00:00:00Z")
    packed = answer.pieces([TextPiece(0, "hello"), TextPiece(1, "hi"), ThinkingPiece(1, "hm")])
    assert [json.loads(each)["message"]["content"] for each in packed.splitlines()] == ["hello"]
