"""Nearly valid bodies: a translator names the error, and never raises anything else."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.vocabulary import Dialect, ErrorClass
from openfall.workers.backends import anthropic_answer as anthropic_answer
from openfall.workers.backends import openai_answer as openai_answer
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.translate import (
    request_for_anthropic,
    request_for_openai,
    responses_request,
    translate_request,
    translate_response,
)
from tests.fuzz.samples import RESPONSES_REQUEST
from tests.workers.backends.corruption import assert_translated_or_refused, corruptions

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string", "maxLength": 3}, "b": {"anyOf": [{"type": "null"}, {"items": {}}]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
THOUGHTS = [{"type": "thinking", "thinking": "t", "signature": "s"}]
OPENAI: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "file", "file": {"file_data": "data:text/plain;base64,AAAA", "filename": "a"}},
            ],
        },
        {"role": "assistant", "content": "a", "refusal": "r", "tool_calls": [CALL], "thinking_blocks": THOUGHTS},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "max_tokens": 9000,
    "temperature": 1,
    "top_k": 1,
    "stop": ["a"],
    "user": "u",
}
ALLOWED = {
    "messages": [{"role": "user", "content": "a"}],
    "tools": OPENAI["tools"],
    "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "f"}}]}},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
}
SOURCE = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
_IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
_SEEN = {"role": "user", "content": [{"type": "input_text", "text": "hi"}, _IMAGE]}
RESPONSES: dict[str, Any] = RESPONSES_REQUEST | {
    "top_logprobs": None,
    "tool_choice": "auto",
    "input": [_SEEN, *RESPONSES_REQUEST["input"][1:]],
}
ANTHROPIC: dict[str, Any] = {
    "system": [{"type": "text", "text": "a"}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image", "source": {"type": "url", "url": "https://h/a"}},
                {"type": "document", "source": SOURCE, "title": "t", "context": "c"},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}},
                {"type": "search_result", "title": "t", "source": "s", "content": [{"type": "text", "text": "a"}]},
            ],
        },
        {"role": "assistant", "content": [*THOUGHTS, {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "x", "is_error": True}]},
    ],
    "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    "metadata": {"user_id": "u"},
    "max_tokens": 9,
    "temperature": 1,
    "stop_sequences": ["a"],
}


@pytest.mark.parametrize(
    ("translate", "good"),
    [
        (request_for_anthropic.request, OPENAI),
        (responses_request.request, RESPONSES),
        (request_for_anthropic.request, ALLOWED),
        (request_for_openai.request, ANTHROPIC),
    ],
    ids=["openai's", "Responses", "openai's with some tools", "anthropic's"],
)
def test_any_body_is_translated_or_refused_with_a_reason(translate: Any, good: dict[str, Any]) -> None:
    assert_translated_or_refused(translate, good)


def test_the_call_of_a_custom_tool_and_its_result_stay_in_the_history() -> None:
    call = {"type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": 'a "b"', "status": "completed"}
    result = {"type": "custom_tool_call_output", "call_id": "c", "output": "done"}
    body = {"input": [{"role": "user", "content": "hi"}, call, result]}
    assert responses_request.left_out(body) == []
    _, turn, answer = responses_request.request(body)["messages"]
    function = {"name": "apply_patch", "arguments": '{"input":"a \\"b\\""}'}
    assert turn["tool_calls"] == [{"id": "c", "type": "function", "function": function}]
    assert answer == {"role": "tool", "tool_call_id": "c", "content": "done"}


MESSAGE: dict[str, Any] = {
    "id": "msg",
    "model": "m",
    "content": [
        *THOUGHTS,
        {"type": "text", "text": "a"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
    ],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "cache_read_input_tokens": 1, "output_tokens": 1, "output_tokens_details": {"a": 1}},
}
ANSWER_MESSAGE = {
    "role": "assistant",
    "content": "a",
    "reasoning": "r",
    "tool_calls": [CALL],
    "thinking_blocks": THOUGHTS,
}
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl",
    "model": "m",
    "choices": [{"message": ANSWER_MESSAGE, "finish_reason": "stop", "stop_reason": "END"}],
    "usage": {
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 1},
    },
}


@pytest.mark.parametrize(
    ("ours", "theirs", "good", "read"),
    [
        ("anthropic", "openai", COMPLETION, openai_answer.to_outcome),
        ("openai", "anthropic", MESSAGE, anthropic_answer.to_outcome),
    ],
)
def test_an_answer_is_translated_or_malformed(ours: Dialect, theirs: Dialect, good: dict[str, Any], read: Any) -> None:
    request = Request(body={"stop_sequences": ["END"]}, upstream="m", timeout=1, dialect=ours)
    assert isinstance(translate_response(read(good), request, theirs), Completion)
    for body in corruptions(good):
        result = translate_response(read(body), request, theirs)
        assert isinstance(result, Completion | Failure)


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        (
            {"messages": [], "n": 2},
            Failure(error_class=ErrorClass.UNSUPPORTED, detail="this model does not support n"),
        ),
        ({"messages": 3}, Failure(error_class=ErrorClass.BAD_REQUEST, detail="messages is not a list")),
    ],
)
def test_an_untranslatable_body_is_unsupported_and_an_invalid_one_a_bad_request(
    body: dict[str, Any], failure: Failure
) -> None:
    assert translate_request(Request(body=body, upstream="m", timeout=1), "anthropic") == failure
    assert failure.disposition.try_next_model


def test_a_body_in_the_backends_dialect_is_unchanged() -> None:
    body = {"messages": 3, "n": 2}
    assert translate_request(Request(body=body, upstream="m", timeout=1), "openai") is body
