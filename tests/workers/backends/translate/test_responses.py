"""Answers in the other dialect: the official clients' own types take them, strictly."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.workers.backends.translate import finish_reason, response_from_anthropic, response_from_openai
from openfall.workers.backends.translate.refusals import Unreadable
from tests.workers.backends.translate.official import completion, message

THOUGHT = {"type": "thinking", "thinking": "Look up.", "signature": "EqQB"}
HIDDEN = {"type": "redacted_thinking", "data": "Emw"}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [
        THOUGHT,
        HIDDEN,
        {"type": "text", "text": "I "},
        {"type": "text", "text": "look."},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "sky"}},
        {"type": "tool_use", "id": "toolu_2", "name": "wave", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 3,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 18,
        "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 2},
    },
}
CALLS = [
    {"id": "toolu_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"sky"}'}},
    {"id": "toolu_2", "type": "function", "function": {"name": "wave", "arguments": "{}"}},
]
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "I look.", "reasoning_content": "Up?", "tool_calls": CALLS},
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {
        "prompt_tokens": 41,
        "completion_tokens": 5,
        "total_tokens": 46,
        "prompt_tokens_details": {"cached_tokens": 18, "cache_write_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 2},
    },
}


def for_openai(body: dict[str, Any]) -> dict[str, Any]:
    """The answer as OpenAI's callers get it; its own type takes it."""
    text = response_from_anthropic.response(body, {})
    completion(text)
    return text


def for_anthropic(body: dict[str, Any], **request: Any) -> dict[str, Any]:
    """The answer as Anthropic's callers get it; its own type takes it."""
    text = response_from_openai.response(body, request)
    message(text)
    return text


def choice(finish: str = "stop", **text: Any) -> dict[str, Any]:
    result = {"index": 0, "message": {"role": "assistant", **text}, "finish_reason": finish}
    return COMPLETION | {"choices": [result]}


def test_a_message_becomes_a_completion_with_its_thinking_text_and_calls() -> None:
    assert for_openai(MESSAGE) == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 0,
        "model": "claude",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "I look.",
                    "refusal": None,
                    "reasoning_content": "Look up.",
                    "thinking_blocks": [THOUGHT, HIDDEN],
                    "tool_calls": CALLS,
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": COMPLETION["usage"],
    }


def test_a_completion_becomes_a_message_with_its_thinking_text_and_calls() -> None:
    assert for_anthropic(COMPLETION) == {
        "id": "chatcmpl-1",
        "type": "message",
        "role": "assistant",
        "model": "gpt",
        "content": [
            {"type": "thinking", "thinking": "Up?", "signature": ""},
            {"type": "text", "text": "I look."},
            *MESSAGE["content"][4:],
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": MESSAGE["usage"],
    }


def test_there_and_back_a_message_is_the_same_but_for_texts_in_pieces() -> None:
    back = for_anthropic(for_openai(MESSAGE))
    joined = [THOUGHT, HIDDEN, {"type": "text", "text": "I look."}, *MESSAGE["content"][4:]]
    assert back == MESSAGE | {"content": joined}


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("of next year", "stop"),
    ],
)
def test_the_stop_reason_of_a_message_is_translated(stop: str, finish: str) -> None:
    text = for_openai(MESSAGE | {"stop_reason": stop})
    assert finish_reason(text, "openai") == finish


@pytest.mark.parametrize(
    ("body", "stop"),
    [
        (choice("stop", content="x"), "end_turn"),
        (choice("length", content="x"), "max_tokens"),
        (choice("tool_calls", tool_calls=CALLS), "tool_use"),
        (choice("stop", tool_calls=CALLS), "tool_use"),
        (choice("of next year", content="x"), "end_turn"),
    ],
)
def test_the_finish_reason_of_a_completion_is_translated(body: dict[str, Any], stop: str) -> None:
    assert finish_reason(for_anthropic(body), "anthropic") == stop


def test_the_stop_sequence_of_a_server_is_kept() -> None:
    body = choice("stop", content="x")
    body["choices"][0]["stop_reason"] = "END"
    text = for_anthropic(body, stop_sequences=["END"])
    assert (text["stop_reason"], text["stop_sequence"]) == ("stop_sequence", "END")


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "many"}])
def test_a_missing_usage_is_null_for_openai_and_zero_for_anthropic(usage: Any) -> None:
    text = for_anthropic(COMPLETION | {"usage": usage})
    assert (text["usage"]["input_tokens"], text["usage"]["output_tokens"]) == (0, 0)
    assert for_openai(MESSAGE | {"usage": usage})["usage"] is None


@pytest.mark.parametrize("arguments", ["{nope", "[]", "3", '"x"'])
def test_arguments_that_are_not_an_object_are_malformed_unless_the_limit_cut_them_off(arguments: str) -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": "look", "arguments": arguments}}]
    with pytest.raises(Unreadable, match="not a JSON object"):
        response_from_openai.response(choice("tool_calls", tool_calls=calls), {})
    assert for_anthropic(choice("length", tool_calls=calls))["content"][0]["input"] == {}


def test_a_call_without_an_id_gets_one() -> None:
    calls = [{"function": {"name": "look", "arguments": {"at": "sky"}}}, {"id": "a.b", "function": {"name": "x"}}]
    first, second = for_anthropic(choice("tool_calls", tool_calls=calls))["content"]
    assert (first["id"], first["input"]) == ("call_0", {"at": "sky"})
    assert second["id"].startswith("a_b_")


def test_a_refusal_becomes_text_and_other_names_of_reasoning_are_read() -> None:
    text = for_anthropic(choice(content=None, refusal="I would rather not.", reasoning="Hm."))
    assert [block.get("text") or block.get("thinking") for block in text["content"]] == ["Hm.", "I would rather not."]
