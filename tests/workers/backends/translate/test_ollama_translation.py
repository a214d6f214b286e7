"""Ollama's dialect into the two others and back, and what has no translation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.vocabulary import Dialect, ErrorClass
from openfall.workers.backends import ollama_answer
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.translate import (
    TRANSLATORS,
    ollama_to_openai,
    openai_to_ollama,
    translate_request,
    translate_response,
)
from openfall.workers.backends.translate.refusals import Untranslatable
from tests.workers.backends.translate.official import ANTHROPIC, OPENAI, completion, known, message
from tests.workers.backends.translate.test_translation_round_trips import conversations, meant

PIXEL = "iVBORw0KGgo="
FUNCTION = {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
REQUEST_BODY: dict[str, Any] = {
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [
            {"type": "text", "text": "What is"}, {"type": "text", "text": "this?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        ]},
        {"role": "assistant", "content": None, "reasoning_content": "I must look.", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"at":"sky"}'}},
            {"id": "b", "type": "function", "function": {"name": "wave", "arguments": ""}},
        ]},
        {"role": "tool", "tool_call_id": "b", "content": "waved"},
        {"role": "tool", "tool_call_id": "a", "content": "a lantern"},
    ],
    "tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": True, "max_completion_tokens": 9, "stop": "\n",
    "temperature": 0.5, "top_p": 0.9, "seed": 7, "reasoning_effort": "minimal", "user": "u", "n": 1, "logprobs": True,
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
}  # fmt: skip
OLLAMA_BODY: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is\nthis?", "images": [PIXEL]},
        {"role": "assistant", "content": "", "thinking": "I must look.", "tool_calls": [
            {"id": "a", "function": {"name": "look", "arguments": {"at": "sky"}}},
            {"id": "b", "function": {"name": "wave", "arguments": {}}},
        ]},
        {"role": "tool", "content": "waved", "tool_call_id": "b", "tool_name": "wave"},
        {"role": "tool", "content": "a lantern", "tool_call_id": "a", "tool_name": "look"},
    ],
    "tools": [TOOL], "logprobs": True, "format": SCHEMA, "think": "low",
    "options": {"temperature": 0.5, "top_p": 0.9, "seed": 7, "num_predict": 9, "stop": ["\n"]},
}  # fmt: skip


def test_everything_that_openai_and_ollama_share_is_translated() -> None:
    assert openai_to_ollama.request(REQUEST_BODY) == OLLAMA_BODY


def test_the_translation_back_joins_the_texts() -> None:
    back = ollama_to_openai.request(OLLAMA_BODY)
    assert known(OPENAI, back) == {"model": "m", **back}
    calls = REQUEST_BODY["messages"][2]["tool_calls"]
    assert back["messages"][2]["tool_calls"] == [calls[0], calls[1] | {"function": {"name": "wave", "arguments": "{}"}}]
    assert back["messages"][1]["content"][1] == REQUEST_BODY["messages"][1]["content"][2]
    assert [item.get("tool_call_id") for item in back["messages"]] == [None, None, None, "b", "a"]
    assert (back["max_tokens"], back["stop"], back["reasoning_effort"]) == (9, ["\n"], "low")
    assert back["response_format"] == {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}


def test_calls_without_ids_get_them_and_results_find_theirs() -> None:
    def called(*names: str) -> dict[str, Any]:
        calls = [{"function": {"name": name, "arguments": {}}} for name in names]
        return {"role": "assistant", "content": "", "tool_calls": calls}

    def result(content: str, **more: str) -> dict[str, Any]:
        return {"role": "tool", "content": content, **more}

    turns = [
        called("look", "wave", "look"), result("waved", tool_name="wave"), result("first", tool_name="look"),
        result("second"), called("sing"), result("la"),
    ]  # fmt: skip
    translated = ollama_to_openai.request({"messages": turns})["messages"]
    assert [call["id"] for call in translated[0]["tool_calls"]] == ["call_0", "call_1", "call_2"]
    results = [item["tool_call_id"] for item in translated if item["role"] == "tool"]
    assert results == ["call_1", "call_0", "call_2", "call_3"]


@pytest.mark.parametrize(
    ("start", "kind"), [("/9j/4AAQ", "jpeg"), ("UklGRh4", "webp"), ("R0lGODlh", "gif"), (PIXEL, "png")]
)
def test_the_beginning_of_an_image_gives_its_type(start: str, kind: str) -> None:
    [translated] = ollama_to_openai.request({"messages": [{"role": "user", "images": [start]}]})["messages"]
    assert translated["content"] == [{"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{start}"}}]


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2}, {"tools": [TOOL], "tool_choice": "required"}, {"tools": [TOOL], "parallel_tool_calls": False},
        {"tools": [{"type": "custom", "custom": {"name": "x"}}]}, {"modalities": ["text", "audio"]},
        {"functions": [FUNCTION], "tools": [TOOL]}, {"web_search_options": {}},
            {"response_format": {"type": "grammar"}},
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://h/a.png"}}]}]},
    ],
)  # fmt: skip
def test_a_parameter_that_ollama_lacks_and_that_changes_the_result_is_refused(more: dict[str, Any]) -> None:
    outcome = translate_request(Request(body={"messages": [], **more}, upstream="m", timeout=1), "ollama")
    assert isinstance(outcome, Failure)
    assert outcome.error_class is ErrorClass.UNSUPPORTED


def test_forbidden_tools_are_omitted() -> None:
    assert "tools" not in openai_to_ollama.request({"messages": [], "tools": [TOOL], "tool_choice": "none"})
    other = {"type": "function", "function": {"name": "other", "parameters": {"type": "object", "properties": {}}}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [other]}}
    body = {"messages": [], "tools": [TOOL, other], "tool_choice": allowed}
    assert openai_to_ollama.request(body)["tools"] == [other]
    allowed["allowed_tools"]["mode"] = "required"
    with pytest.raises(Untranslatable, match="must be called"):
        openai_to_ollama.request(body)


ANSWER: dict[str, Any] = {
    "model": "m", "created_at": "2026-11-01T10:00:00.123456789Z", "done": True, "done_reason": "stop",
    "message": {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [
        {"function": {"index": 0, "name": "look", "arguments": {"at": "sky", "n": [1]}}},
        {"id": "call_x", "function": {"index": 1, "name": "wave", "arguments": {}}},
    ]},
    "prompt_eval_count": 7, "eval_count": 3, "total_duration": 5,
}  # fmt: skip


def from_ollama(dialect: Dialect, **more: Any) -> Completion:
    outcome = ollama_answer.to_outcome(ANSWER | more)
    values = translate_response(outcome, Request(body={}, upstream="m", timeout=1, dialect=dialect), "ollama")
    assert isinstance(values, Completion)
    return values


def test_an_openai_caller_gets_calls_with_texts_and_ids() -> None:
    values = from_ollama("openai")
    body = completion(values.body)
    [choice] = body.choices
    calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()]  # type: ignore[union-attr]
    assert calls == [("call_0", "look", '{"at":"sky","n":[1]}'), ("call_x", "wave", "{}")]
    assert (values.finish_reason, choice.finish_reason, choice.message.content) == ("tool_calls", "tool_calls", None)
    assert values.body["choices"][0]["message"]["reasoning_content"] == "Hm."
    assert body.usage is not None
    assert (body.usage.prompt_tokens, body.usage.completion_tokens, body.created) == (7, 3, 1793527200)


def test_an_anthropic_caller_gets_blocks() -> None:
    values = from_ollama("anthropic")
    body = message(values.body)
    assert [block.type for block in body.content] == ["thinking", "tool_use", "tool_use"]
    assert (values.finish_reason, body.stop_reason) == ("tool_use", "tool_use")
    assert (body.usage.input_tokens, body.usage.output_tokens) == (7, 3)


@pytest.mark.parametrize(("dialect", "word"), [("openai", "length"), ("anthropic", "max_tokens")])
def test_a_reached_limit_has_the_finish_reason_of_the_callers_dialect(dialect: Dialect, word: str) -> None:
    values = from_ollama(dialect, done_reason="length", message={"role": "assistant", "content": "A lan"})
    assert (values.finish_reason, values.text) == (word, "A lan")


def test_an_answer_keeps_its_content_from_openai_to_ollama_and_back() -> None:
    there = openai_to_ollama.response(ANSWER, {})
    back = ollama_to_openai.response(there, {})
    assert back["message"]["thinking"] == "Hm."
    functions = [call["function"] for call in back["message"]["tool_calls"]]
    assert functions == [call["function"] for call in ANSWER["message"]["tool_calls"]]
    counts = ("done", "done_reason", "prompt_eval_count", "eval_count", "model")
    assert [back[name] for name in counts] == [ANSWER[name] for name in counts]
    assert back["created_at"] == "2026-11-01T10:00:00Z"


def test_thinking_and_top_k_pass_between_anthropic_and_ollama() -> None:
    body = {
        "max_tokens": 9, "top_k": 5, "system": "Be brief.", "thinking": {"type": "enabled", "budget_tokens": 2048},
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "tool_use", "id": "t", "name": "look", "input": {"at": "sky"}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "a lantern"}]},
        ],
        "tools": [{"name": "look", "input_schema": {"type": "object", "properties": {}}}],
    }  # fmt: skip
    there = TRANSLATORS["anthropic", "ollama"].request(body)
    assert [turn["role"] for turn in there["messages"]] == ["system", "user", "assistant", "tool"]
    call = {"id": "t", "function": {"name": "look", "arguments": {"at": "sky"}}}
    assert there["messages"][2] == {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [call]}
    assert there["options"] == {"num_predict": 9, "top_k": 5}
    assert "think" not in there
    back = TRANSLATORS["ollama", "anthropic"].request(there)
    sampled = {name: value for name, value in back.items() if name != "top_k"}  # the newest types know it no more
    assert known(ANTHROPIC, back) == {"model": "m", **sampled}
    assert (back["top_k"], back["max_tokens"], back["system"]) == (5, 9, "Be brief.")
    assert back["messages"][1]["content"] == body["messages"][1]["content"][1:]  # type: ignore[index]


@pytest.mark.parametrize(("ours", "theirs"), [("anthropic", "ollama"), ("ollama", "anthropic")])
def test_disabled_thinking_is_passed_on(ours: Dialect, theirs: Dialect) -> None:
    wish: dict[Dialect, dict[str, Any]] = {"anthropic": {"thinking": {"type": "disabled"}}, "ollama": {"think": False}}
    turns = [{"role": "user", "content": "Hi"}]
    translated = TRANSLATORS[ours, theirs].request({"messages": turns, "max_tokens": 9, **wish[ours]})
    assert wish[theirs].items() <= translated.items()


@settings(max_examples=150)
@given(conversations())
def test_openai_to_ollama_and_back_keeps_the_content(messages: list[dict[str, Any]]) -> None:
    """But that texts beside each other are one, and a call without a word has an empty one."""
    try:
        there = openai_to_ollama.request({"messages": messages})
    except Untranslatable:  # an image by its address
        return
    back = ollama_to_openai.request(there)
    assert known(OPENAI, back) == {"model": "m", **back}

    def plain(content: Any) -> tuple[str, int]:
        parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
        texts = [part["text"] for part in parts if part["type"] == "text"]
        return "\n".join(texts), len(parts) - len(texts)

    translated = [(role, plain(content), calls, called) for role, content, calls, called in meant(messages)]
    assert [
        (role, plain(content), calls, called) for role, content, calls, called in meant(back["messages"])
    ] == translated
