"""Answers whose servers imitate a protocol loosely: what can be read of them for certain is read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.stream_pieces import text_of
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.anthropic_answer import MessageAssembler, parse_message
from openfall.workers.backends.ollama_answer import parse_chat
from openfall.workers.backends.openai_answer import CompletionAssembler, parse_completion, to_outcome


def answered(outcome: Outcome) -> Completion:
    assert isinstance(outcome, Completion), outcome
    return outcome


def completion(message: dict[str, Any], finish: Any = "stop") -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}


@pytest.mark.parametrize(
    "content",
    [
        "Hi", ["Hi"], {"type": "text", "text": "Hi"}, [{"text": "Hi"}], [{"type": "output_text", "text": "Hi"}],
        [{"type": "text", "text": "H"}, "i"],
    ],
)  # fmt: skip
def test_the_content_of_a_message_is_read_in_any_form(content: Any) -> None:
    answer = answered(parse_message(orjson.dumps({"content": content, "stop_reason": "end_turn"}), {}))
    assert answer.text == "Hi"
    assert all(block["type"] == "text" for block in answer.body["content"])


@pytest.mark.parametrize(
    "message",
    [
        {"content": [{"type": "text", "text": {"value": "Hi", "annotations": []}}]}, {"content": [{"content": "Hi"}]},
        {"content": [{"type": "text", "content": "Hi"}]}, {"content": {"type": "text", "content": "Hi"}},
        {"text": "Hi"}, "Hi",
        {"role": "model", "parts": [{"text": "H"}, {"text": "i"}]}, {"content": None, "text": "Hi"},
    ],
)  # fmt: skip
def test_the_text_of_a_completion_is_found_under_the_names_of_servers(message: Any) -> None:
    choices: list[dict[str, Any]] = [
        {"message": message},
        {"message": [message]},
        {"messages": [{"role": "user"}, message]},
    ]
    for choice in choices:
        document = {"choices": [choice | {"finish_reason": "stop"}]}
        assert answered(parse_completion(orjson.dumps(document), {})).text == "Hi"
    assembler = CompletionAssembler()
    pieces = assembler.add(orjson.dumps({"choices": [{"delta": message, "finish_reason": "stop"}]}))
    assert (answered(assembler.outcome()).text, text_of(pieces)) == ("Hi", "Hi")


@pytest.mark.parametrize("content", ["Hi", ["Hi"], [{"type": "text", "text": "Hi"}]])
def test_a_choice_that_has_its_content_without_a_message_is_read(content: Any) -> None:
    document = {"choices": [{"content": content, "finish_reason": "stop"}]}
    assert answered(parse_completion(orjson.dumps(document), {})).text == "Hi"


@pytest.mark.parametrize("field", ["content", "reasoning_content", "reasoning", "refusal"])
def test_an_answer_with_any_content_and_no_finish_reason_is_whole(field: str) -> None:
    outcome = to_outcome(completion({"role": "assistant", "content": None, field: "Hm"}, None))
    assert outcome.refusal is not None if isinstance(outcome, Failure) else outcome.finish_reason == "stop"


@pytest.mark.parametrize("error", [{"code": 200, "message": "success"}, {"code": "0", "message": ""}, {"code": 0}, {}])
def test_an_error_that_says_that_there_is_none_is_none(error: Any) -> None:
    body = completion({"role": "assistant", "content": "Hi"}) | {"error": error}
    assert answered(parse_completion(orjson.dumps(body), {})).text == "Hi"


@pytest.mark.parametrize("error", [{"code": 0, "message": "Provider failed"}, {"message": "success"}, "success"])
def test_an_error_with_other_words_is_one(error: Any) -> None:
    body = completion({"role": "assistant", "content": "Hi"}) | {"error": error}
    assert isinstance(parse_completion(orjson.dumps(body), {}), Failure)


@pytest.mark.parametrize(
    ("error", "meant"),
    [
        ("Rate limit reached for model", ErrorClass.RATE_LIMITED),
        ("over capacity", ErrorClass.OTHER),
        ({"message": "The server is overloaded", "code": 503}, ErrorClass.OVERLOADED),
    ],
)
def test_a_stream_that_names_why_it_stopped_early_is_no_answer(error: Any, meant: ErrorClass) -> None:
    assembler = CompletionAssembler()
    assembler.add(b'{"choices":[{"index":0,"delta":{"content":"Hi"}}]}')
    assembler.add(orjson.dumps({"choices": [], "x_groq": {"id": "r", "error": error}}))
    assembler.add(b"[DONE]")
    outcome = assembler.outcome()
    assert isinstance(outcome, Failure)
    assert outcome.error_class is meant


@pytest.mark.parametrize("more", [{"id": "r"}, {"error": None}, {"error": ""}, "r", None])
def test_what_a_server_of_groq_says_beside_an_answer_is_no_error(more: Any) -> None:
    body = completion({"role": "assistant", "content": "Hi"}) | {"x_groq": more}
    assert answered(parse_completion(orjson.dumps(body), {})).text == "Hi"


START = {"type": "message_start", "message": {"content": [], "stop_reason": None}}
TOOL = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "f"}}


def streamed(*events: dict[str, Any], stop: str = "end_turn") -> Outcome:
    """A stream of a message, with the end that its stop reason is."""
    assembler = MessageAssembler()
    for event in (*events, {"type": "message_delta", "delta": {"stop_reason": stop}}, {"type": "message_stop"}):
        assembler.add(orjson.dumps(event))
    return assembler.outcome()


def delta(**fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": fields}


@pytest.mark.parametrize(
    "deltas",
    [
        [delta(partial_json='{"a"'), delta(partial_json=":1}")],
        [delta(type="input_json_delta", partial_json={"a": 1})],
        [delta(type="input_json_delta", partial_json="{'a': 1}")],
        [delta(type="input_json_delta", partial_json="{}"), delta(type="input_json_delta", partial_json='{"a":1}')],
    ],
    ids=["without types", "an object", "as Python writes it", "behind an empty object"],
)
def test_the_input_of_a_streamed_tool_is_read_in_any_form(deltas: list[dict[str, Any]]) -> None:
    assert answered(streamed(START, TOOL, *deltas, stop="tool_use")).body["content"][0]["input"] == {"a": 1}


def test_deltas_without_types_are_known_by_their_fields() -> None:
    answer = answered(streamed(START, delta(thinking="hm"), delta(signature="s"), delta(text="Hi"), delta(other=1)))
    assert answer.text == "Hi"
    assert answer.body["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "s"}


def test_a_message_that_begins_with_its_whole_content_is_whole() -> None:
    start = {"type": "message_start", "message": {"content": [{"type": "text", "text": "Hi"}], "stop_reason": None}}
    assert answered(streamed(start)).text == "Hi"


@pytest.mark.parametrize(
    "content", [[], None, [{"type": "text", "text": ""}], [{"type": "thinking", "thinking": "hm"}]]
)
def test_a_message_that_ends_in_a_tool_call_without_one_is_no_answer(content: Any) -> None:
    outcome = parse_message(orjson.dumps({"content": content, "stop_reason": "tool_use"}), {})
    assert isinstance(outcome, Failure)
    assert outcome.error_class is ErrorClass.INVALID_OUTPUT
    call = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    body = {"content": [call, *(content or [])], "stop_reason": "tool_use"}
    assert answered(parse_message(orjson.dumps(body), {})).finish_reason == "tool_use"


@pytest.mark.parametrize("arguments", [{"a": 1}, '{"a":1}', "{'a': 1}", '```json\n{"a":1}\n```'])
def test_the_arguments_of_a_call_are_an_object_in_the_protocols_that_have_one(arguments: Any) -> None:
    call = {"function": {"name": "f", "arguments": arguments}}
    chat = answered(parse_chat(orjson.dumps({"message": {"content": "", "tool_calls": [call]}}), {}))
    assert chat.body["message"]["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    block = {"type": "tool_use", "id": "t", "name": "f", "input": arguments}
    message = answered(parse_message(orjson.dumps({"content": [block], "stop_reason": "tool_use"}), {}))
    assert message.body["content"][0]["input"] == {"a": 1}
