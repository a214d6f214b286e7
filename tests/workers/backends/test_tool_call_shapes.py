"""Tool calls in the shapes of servers that imitate OpenAI's protocol, whole and in pieces."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.stream_pieces import Piece, ToolArguments
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.completion_shapes import formed_arguments
from openfall.workers.backends.openai_answer import CompletionAssembler, parse_completion


def whole(message: Any, finish: str | None = "tool_calls") -> Outcome:
    body = {"choices": [{"message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}]}
    return parse_completion(orjson.dumps(body), {})


def streamed(*pieces: Any) -> tuple[Outcome, list[Piece]]:
    assembler, typed = CompletionAssembler(), list[Piece]()
    for piece in pieces:
        typed += assembler.add(orjson.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]}))
    typed += assembler.add(b'{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}')
    return assembler.outcome(), typed


def calls(outcome: Outcome) -> list[tuple[str, Any]]:
    assert isinstance(outcome, Completion), outcome
    made = outcome.body["choices"][0]["message"]["tool_calls"]
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in made]


@pytest.mark.parametrize(
    "arguments",
    [
        '{"a":1}', {"a": 1}, '  {"a":1}\n', json.dumps('{"a":1}'), "{'a': 1}", '{"a":1,}', '```json\n{"a":1}\n```',
        "```\n{'a': 1}```", '{}{"a":1}',
    ],
)  # fmt: skip
def test_arguments_are_read_as_servers_write_them(arguments: Any) -> None:
    function = {"name": "f", "arguments": arguments}
    assert calls(whole({"tool_calls": [{"id": "c", "function": function}]})) == [("f", {"a": 1})]
    assert calls(streamed({"index": 0, "id": "c", "function": function})[0]) == [("f", {"a": 1})]
    older = whole({"function_call": function}, "function_call")
    assert isinstance(older, Completion)
    assert json.loads(older.body["choices"][0]["message"]["function_call"]["arguments"]) == {"a": 1}


def test_a_dict_of_python_keeps_its_values() -> None:
    function = {"name": "f", "arguments": "{'a': True, 'b': None, 'c': [1.5, 'x']}"}
    expected = {"a": True, "b": None, "c": [1.5, "x"]}
    assert calls(whole({"tool_calls": [{"id": "c", "function": function}]})) == [("f", expected)]


@pytest.mark.parametrize(
    "text",
    [
        "{'a': 1",
        "{'a': f()}",
        "{1}",
        "{'a': {1}}",
        "{" * 500,
        "{'a': '" + "x" * 70_000 + "'}",
        "[1]",
        '{"a":true,}',
        "x",
    ],
)
def test_arguments_that_no_form_explains_stay_as_the_model_wrote_them(text: str) -> None:
    outcome = whole({"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": text}}]})
    assert isinstance(outcome, Completion)
    assert outcome.body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == text


@pytest.mark.parametrize(("value", "text"), [([None], "[null]"), ([{"a": 1}], '[{"a":1}]'), (1, "1"), (True, "true")])
def test_arguments_that_are_no_object_are_not_taken_for_none(value: Any, text: str) -> None:
    outcome = whole({"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": value}}]})
    assert isinstance(outcome, Completion)
    assert outcome.body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == text


@pytest.mark.parametrize("arguments", ["", None, "null", "{}", {}, [], False, "{}{}", " "])
def test_a_call_without_arguments_has_an_empty_object(arguments: Any) -> None:
    function = {"name": "f", "arguments": arguments}
    assert calls(whole({"tool_calls": [{"id": "c", "function": function}]})) == [("f", {})]
    outcome, _ = streamed(
        {"index": 0, "id": "c", "function": function}, {"index": 1, "id": "d", "function": {"name": "g"}}
    )
    assert calls(outcome) == [("f", {}), ("g", {})]


def test_a_streamed_call_without_arguments_ends_in_an_empty_object() -> None:
    _, pieces = streamed({"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}})
    assert [piece.text for piece in pieces if isinstance(piece, ToolArguments)] == ["{}"]


@pytest.mark.parametrize(
    "call",
    [
        {"id": "c", "function": {"name": "f", "parameters": {"a": 1}}},
        {"id": "c", "function": {"name": "f", "input": '{"a":1}'}},
        {"id": "c", "function": {"name": "f", "arguments": "", "parameters": {"a": 1}}},
        {"id": "c", "name": "f", "args": {"a": 1}},
        {"id": "c", "name": "f", "parameters": '{"a":1}'},
    ],
)
def test_arguments_are_found_under_the_names_of_servers(call: Any) -> None:
    assert calls(whole({"tool_calls": [call]})) == [("f", {"a": 1})]
    assert calls(whole({"tool_calls": json.dumps([call])})) == [("f", {"a": 1})]
    outcome, pieces = streamed({"index": 0, **call})
    assert calls(outcome) == [("f", {"a": 1})]
    assert "".join(piece.text for piece in pieces if isinstance(piece, ToolArguments)) == '{"a":1}'


F, G = {"name": "f", "arguments": '{"a":1}'}, {"name": "g", "arguments": '{"b":2}'}
BOTH = [("f", {"a": 1}), ("g", {"b": 2})]


@pytest.mark.parametrize(
    "pieces",
    [
        [{"index": 0, "id": "c", "function": F}, {"index": 0, "id": "c", "function": G}],
        [{"index": 0, "function": F}, {"index": 0, "function": G}],
        [{"function": {"name": "f"}}, {"function": {"arguments": '{"a":1}'}},
         {"function": {"name": "g", "arguments": ""}}, {"function": {"arguments": '{"b":2}'}}],
        [{"index": 1, "id": "c", "function": F}, {"index": 7, "id": "d", "function": G}],
        [{"id": "c", "function": {"name": "f", "arguments": '{"a"'}},
         {"id": "d", "function": {"name": "g", "arguments": '{"b"'}},
         {"id": "c", "function": {"arguments": ":1}"}}, {"id": "d", "function": {"arguments": ":2}"}}],
    ],
    ids=["one id for both", "one index for both", "neither id nor index", "any indexes", "by their ids"],
)  # fmt: skip
def test_parallel_calls_of_a_stream_are_two_calls(pieces: list[Any]) -> None:
    assert calls(streamed(*pieces)[0]) == BOTH


@pytest.mark.parametrize(
    "again",
    [
        {"id": "c", "function": F},
        *({**more, "function": {"name": "f", **rest}} for more in ({"id": "c"}, {})
          for rest in ({}, {"arguments": ""}, {"arguments": None})),
    ],
)  # fmt: skip
def test_a_call_that_its_server_repeats_is_one_call(again: Any) -> None:
    outcome, _ = streamed({"index": 0, "id": "c", "function": F}, {"index": 0, **again})
    assert calls(outcome) == [("f", {"a": 1})]


@pytest.mark.parametrize(
    "message", [{}, {"tool_calls": []}, {"tool_calls": "none"}, {"tool_calls": [None]}, {"content": ""}]
)
@pytest.mark.parametrize("finish", ["tool_calls", "function_call"])
def test_an_end_in_a_tool_call_without_one_is_no_answer(message: Any, finish: str) -> None:
    outcome = whole(message, finish)
    assert isinstance(outcome, Failure)
    assert (outcome.error_class, outcome.detail) == (
        ErrorClass.INVALID_OUTPUT, "the answer ended in a tool call, and has none",
    )  # fmt: skip
    assert isinstance(whole(message | {"content": "Hello."}, finish), Completion)


def test_many_empty_objects_in_front_of_arguments_are_left_out() -> None:
    assert formed_arguments("{}" * 100_000) == "{}"
    assert formed_arguments("{} " * 100_000 + '{"a":1}') == '{"a":1}'


def pieces_of(*arguments: str) -> list[dict[str, Any]]:
    first, *rest = ({"index": 0, "function": {"arguments": text}} for text in arguments)
    return [{**first, "id": "c", "function": {**first["function"], "name": "f"}}, *rest]


@pytest.mark.parametrize(
    "arguments",
    [
        ("{", '{"a"', '{"a":', '{"a":1', '{"a":1}', '{"a":1}'),
        ('{"', '{"a":{"a', '{"a":{"a":1}}'),
        ('{"a":"x', '{"a":"xy"}'),
        ('{"a":1', '{"a":1', '{"a":12}'),
        ('{"a":[1]', '{"a":[1],"b":2}'),
    ],
)
def test_arguments_so_far_in_each_piece_are_not_repeated(arguments: tuple[str, ...]) -> None:
    outcome, typed = streamed(*pieces_of(*arguments))
    assert calls(outcome) == [("f", json.loads(arguments[-1]))]
    assert "".join(piece.text for piece in typed if isinstance(piece, ToolArguments)) == arguments[-1]


@pytest.mark.parametrize("arguments", [('{"a":', '{"a":1}}'), ('{"a":[', '{"a":[1]}]}'), ('{"a":1', ".5}")])
def test_an_object_that_begins_like_the_one_around_it_stays(arguments: tuple[str, ...]) -> None:
    outcome, _ = streamed(*pieces_of(*arguments))
    assert isinstance(outcome, Completion)
    (call,) = outcome.body["choices"][0]["message"]["tool_calls"]
    assert call["function"]["arguments"] == "".join(arguments)


def test_calls_beside_the_message_or_the_delta_are_calls() -> None:
    beside = {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a":1}'}}]}
    assembler = CompletionAssembler()
    assembler.add(orjson.dumps({"choices": [{"index": 0, "delta": {"content": ""}, **beside}]}))
    assembler.add(b'{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}')
    assert calls(assembler.outcome()) == [("f", {"a": 1})]
    choice = {"message": {"role": "assistant", "content": None}, "finish_reason": "tool_calls", **beside}
    assert calls(parse_completion(orjson.dumps({"choices": [choice]}), {})) == [("f", {"a": 1})]
