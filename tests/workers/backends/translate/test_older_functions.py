"""A request with `functions`, the older form of tools, has an answer in that form from a model of any protocol."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.jobs.outcome import Completion
from openfall.router_core.jobs.request_body import all_text, has_tools
from openfall.router_core.jobs.stream_pieces import Piece, RawEvent, TextPiece, ToolArguments, ToolStart
from openfall.router_core.vocabulary import Dialect
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.translate import translate_request, translate_response
from openfall.workers.backends.translate.piece_translation import translated_pieces
from openfall.workers.backends.translate.tool_names import tool_name

HI = {"role": "user", "content": "Hi"}
FUNCTION = {"name": "files.read", "description": "d", "parameters": {"type": "object", "properties": {}}}
AT_ANTHROPIC = tool_name("files.read", "anthropic")
CALL = {"name": "files.read", "arguments": '{"a":1}'}
BODY: dict[str, Any] = {"messages": [HI], "functions": [FUNCTION]}
INPUT = {"a": 1}
ANSWERS: dict[Dialect, dict[str, Any]] = {
    "anthropic": {
        "content": [{"type": "tool_use", "id": "t", "name": AT_ANTHROPIC, "input": INPUT}],
        "stop_reason": "tool_use",
    },
    "ollama": {
        "message": {"content": "", "tool_calls": [{"function": {"name": "files.read", "arguments": INPUT}}] * 2},
        "done_reason": "stop",
    },
}


def request(**more: Any) -> Request:
    return Request(body={**BODY, **more}, upstream="m", timeout=1)


def sent(dialect: Dialect, **more: Any) -> Any:
    return translate_request(request(**more), dialect)


def test_functions_are_tools() -> None:
    (tool,) = sent("anthropic")["tools"]
    assert (tool["name"], tool["description"]) == (AT_ANTHROPIC, "d")
    assert sent("ollama")["tools"] == [{"type": "function", "function": FUNCTION}]
    assert has_tools(BODY)
    assert "files.read" in all_text(BODY)


@pytest.mark.parametrize(
    ("choice", "at_anthropic"),
    [
        (None, {"type": "auto", "disable_parallel_tool_use": True}),
        ("auto", {"type": "auto", "disable_parallel_tool_use": True}),
        ("none", {"type": "none"}),
        ({"name": "files.read"}, {"type": "tool", "name": AT_ANTHROPIC, "disable_parallel_tool_use": True}),
    ],
)
def test_a_function_call_of_a_request_is_a_choice_of_one_tool(choice: Any, at_anthropic: Any) -> None:
    assert sent("anthropic", function_call=choice)["tool_choice"] == at_anthropic


@pytest.mark.parametrize("dialect", ANSWERS)
def test_an_answer_has_one_function_call_and_the_history_takes_it_back(dialect: Dialect) -> None:
    outcome = Completion(text="", finish_reason="", body=ANSWERS[dialect])
    translated = translate_response(outcome, request(), dialect)
    assert isinstance(translated, Completion)
    (choice,) = translated.body["choices"]
    assert choice["message"]["function_call"] == CALL
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == translated.finish_reason == "function_call"
    result = {"role": "function", "name": "files.read", "content": "1"}
    turns = sent(dialect, messages=[HI, choice["message"], result])["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "tool" if dialect == "ollama" else "user"]


@pytest.mark.parametrize("dialect", ANSWERS)
def test_a_text_is_an_answer_as_ever(dialect: Dialect) -> None:
    body = {"content": [{"type": "text", "text": "A"}], "message": {"content": "A"}, "stop_reason": "end_turn"}
    translated = translate_response(Completion(text="A", finish_reason="", body=body), request(), dialect)
    assert isinstance(translated, Completion)
    assert translated.body["choices"][0]["message"] == {"role": "assistant", "content": "A", "refusal": None}
    assert translated.finish_reason == "stop"


def test_a_stream_has_the_pieces_of_one_function_call() -> None:
    received: list[Piece] = []
    receive = translated_pieces(request(), "anthropic", received.extend)
    receive([TextPiece(0, "A"), ToolStart(0, 0, "t", AT_ANTHROPIC), ToolArguments(0, 0, "{}")])
    receive([ToolStart(0, 1, "u", AT_ANTHROPIC), ToolArguments(0, 1, "{}")])
    deltas = [{"name": "files.read", "arguments": ""}, {"arguments": "{}"}]
    events = [RawEvent({"choices": [{"index": 0, "delta": {"function_call": delta}}]}) for delta in deltas]
    assert received == [TextPiece(0, "A"), *events]
