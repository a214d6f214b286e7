"""OpenAI's requests in Anthropic's dialect: the content survives, and the official types accept all of it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from openfall.workers.backends.translate.refusals import Unreadable, Untranslatable
from openfall.workers.backends.translate.request_for_anthropic import JSON_INSTRUCTION, request
from tests.workers.backends.translate.official import ANTHROPIC, known

HI: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}
LOOK = {"type": "function", "function": {"name": "look", "description": "Look up.", "parameters": SCHEMA}}
WAVE = {"type": "function", "function": {"name": "wave", "strict": True}}
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = b64encode(b"%PDF-1.7").decode()


def call(id: str, arguments: str = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "look", "arguments": arguments}}


def translate_body(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The translated request, which the official types know to the last field."""
    body = request({"messages": list(messages) or HI["messages"], **more})
    checked = {"max_tokens": 9, **body}
    assert known(ANTHROPIC, checked) == {"model": "m", **checked}
    return body


def test_a_conversation_with_parallel_tools_keeps_all_its_parts() -> None:
    body = translate_body(
        {"role": "system", "content": "Speak as Haruka."},
        {"role": "developer", "content": [{"type": "text", "text": "Briefly."}]},
        {"role": "user", "content": "What do you see?", "name": "Kai"},
        {"role": "assistant", "content": "I look.", "tool_calls": [call("a", '{"at":"sky"}'), call("b")]},
        {"role": "tool", "tool_call_id": "a", "content": "stars"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "a crowd"}]},
        {"role": "user", "content": "And now?"},
        {"role": "assistant", "content": [{"type": "text", "text": "Lanterns."}]},
        tools=[LOOK, WAVE],
        max_tokens=50,
    )
    assert body == {
        "system": [{"type": "text", "text": "Speak as Haruka."}, {"type": "text", "text": "Briefly."}],
        "messages": [
            {"role": "user", "content": "What do you see?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "a", "name": "look", "input": {"at": "sky"}},
                    {"type": "tool_use", "id": "b", "name": "look", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": "stars"},
                    {"type": "tool_result", "tool_use_id": "b", "content": "a crowd"},
                    {"type": "text", "text": "And now?"},
                ],
            },
            {"role": "assistant", "content": "Lanterns."},
        ],
        "tools": [
            {"name": "look", "description": "Look up.", "input_schema": SCHEMA},
            {"name": "wave", "input_schema": {"type": "object", "properties": {}}, "strict": True},
        ],
        "max_tokens": 50,
    }


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": {"type": "function", "function": {"name": "look"}}}, {"type": "tool", "name": "look"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
        ({"parallel_tool_calls": True}, None),
    ],
)
def test_the_tool_choice_is_translated(fields: dict[str, Any], meant: dict[str, Any] | None) -> None:
    assert translate_body(tools=[LOOK], **fields).get("tool_choice") == meant


def test_only_allowed_tools_are_sent() -> None:
    choice = {"mode": "required", "tools": [{"type": "function", "function": {"name": "wave"}}]}
    body = translate_body(tools=[LOOK, WAVE], tool_choice={"type": "allowed_tools", "allowed_tools": choice})
    assert ([tool["name"] for tool in body["tools"]], body["tool_choice"]) == (["wave"], {"type": "any"})


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://h/a.png"}},
            {"type": "image", "source": {"type": "url", "url": "https://h/a.png"}},
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                "title": "a.pdf",
            },
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/plain;charset=utf-8;base64,w7w="}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "ü"}},
        ),
        (
            {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
        ),
    ],
)
def test_images_documents_and_cache_marks_are_kept(part: dict[str, Any], block: dict[str, Any]) -> None:
    body = translate_body({"role": "user", "content": [part, {"type": "text", "text": "What is it?"}]})
    assert body["messages"] == [{"role": "user", "content": [block, {"type": "text", "text": "What is it?"}]}]


def test_a_system_message_alone_becomes_the_users() -> None:
    assert translate_body({"role": "system", "content": "Say hi."}) == {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Say hi."}]}]
    }


def test_empty_texts_are_omitted() -> None:
    body = translate_body(
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": [call("a")]}
    )
    assert [block["type"] for block in body["messages"][1]["content"]] == ["tool_use"]


@pytest.mark.parametrize("odd", ["functions.look:0", "call|1", ""])
def test_an_id_that_anthropic_refuses_is_replaced_the_same_way_each_time(odd: str) -> None:
    body = translate_body(*HI["messages"], {"role": "assistant", "tool_calls": [call(odd), call(odd + "x.y")]},
                {"role": "tool", "tool_call_id": odd, "content": "x"})  # fmt: skip
    first, second = (block["id"] for block in body["messages"][1]["content"])
    assert first != second
    assert first.replace("_", "").isalnum()
    assert body["messages"][2]["content"][0]["tool_use_id"] == first


def test_limits_stops_users_and_temperatures_take_anthropics_form() -> None:
    body = translate_body(max_completion_tokens=7, max_tokens=9, stop="END", user="u-1")
    assert body == HI | {"max_tokens": 7, "stop_sequences": ["END"], "metadata": {"user_id": "u-1"}}
    assert request(HI | {"temperature": 1.7, "top_p": 0.5, "top_k": 3}) == HI | {"temperature": 1.0, "top_k": 3}
    assert request(HI | {"top_p": 0.5}) == HI | {"top_p": 0.5}


def test_parameters_that_only_tune_are_omitted() -> None:
    tuned = {
        "seed": 1, "presence_penalty": 1.0, "frequency_penalty": 1.0, "logit_bias": {"1": 2}, "verbosity": "low",
        "n": 1, "logprobs": False, "top_logprobs": 0, "store": True, "metadata": {"a": "b"}, "service_tier": "flex",
        "modalities": ["text"], "stream": True, "stream_options": {"include_usage": True}, "model": "ours",
        "response_format": {"type": "text"}, "repetition_penalty": 1.1, "stop": None, "tools": [],
    }  # fmt: skip
    assert request(HI | tuned) == HI


def test_a_schema_for_the_answer_becomes_structured_output() -> None:
    schema = {
        "type": "object",
        "properties": {
            "names": {"type": "array", "items": {"type": "string", "maxLength": 9}, "minItems": 1, "maxItems": 3},
            "age": {"type": "integer", "minimum": 0, "description": "In years."},
            "home": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/home"}]},
        },
        "required": ["names"],
        "$defs": {"home": {"type": "object", "properties": {"pattern": {"type": "string"}}}},
    }
    body = translate_body(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {
                "names": {
                    "type": "array", "items": {"type": "string", "description": '{"maxLength":9}'}, "minItems": 1,
                    "description": '{"maxItems":3}',
                },
                "age": {"type": "integer", "description": 'In years.\n\n{"minimum":0}'},
                "home": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/home"}]},
            },
            "required": ["names"],
            "$defs": {
                "home": {"type": "object", "properties": {"pattern": {"type": "string"}}, "additionalProperties": False}
            },
            "additionalProperties": False,
        },
    }  # fmt: skip


def test_json_mode_becomes_an_instruction() -> None:
    assert translate_body(response_format={"type": "json_object"})["system"] == JSON_INSTRUCTION


THOUGHT = {"type": "thinking", "thinking": "Look up.", "signature": "EqQB"}


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({"reasoning_effort": "low"}, {"type": "enabled", "budget_tokens": 1024}),
        ({"reasoning_effort": "high"}, {"type": "enabled", "budget_tokens": 16384}),
        ({"reasoning_effort": "high", "max_tokens": 8000}, {"type": "enabled", "budget_tokens": 4000}),
        ({"reasoning_effort": "high", "max_tokens": 2000}, None),
        ({"reasoning_effort": "none"}, {"type": "disabled"}),
        ({"reasoning_effort": "high", "tools": [LOOK], "tool_choice": "required"}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"type": "enabled", "budget_tokens": 2000}),
    ],
)
def test_effort_is_a_budget_of_thinking(fields: dict[str, Any], meant: dict[str, Any] | None) -> None:
    assert translate_body(**fields).get("thinking") == meant


def test_thinking_goes_without_sampling_parameters() -> None:
    assert request(HI | {"reasoning_effort": "low", "temperature": 0.2, "top_p": 0.5}).keys() == {
        "messages",
        "thinking",
    }


@pytest.mark.parametrize(("thoughts", "thinks"), [([], False), ([THOUGHT], True)])
def test_within_a_tool_use_thinking_needs_a_beginning_with_thinking(
    thoughts: list[dict[str, Any]], thinks: bool
) -> None:
    calling = {"role": "assistant", "tool_calls": [call("a")], "thinking_blocks": thoughts}
    result = {"role": "tool", "tool_call_id": "a", "content": "x"}
    body = translate_body(*HI["messages"], calling, result, reasoning_effort="low")
    assert ("thinking" in body) is thinks
    assert body["messages"][1]["content"][:-1] == thoughts


def user(**part: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [part]}]}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "several answers": ({"n": 2}, "n"),
    "logprobs": ({"logprobs": True}, "logprobs"),
    "sound": ({"modalities": ["text", "audio"], "audio": {"voice": "x", "format": "mp3"}}, "audio"),
    "old functions beside tools": ({"functions": [{"name": "f"}], "tools": [{}]}, "functions"),
    "a search of the web": ({"web_search_options": {}}, "web_search_options"),
    "a grammar": ({"grammar": "root ::= x"}, "grammar"),
    "a custom tool": ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools of the type custom"),
    "audio": (user(type="input_audio", input_audio={"data": "", "format": "wav"}), "type input_audio"),
    "a file by its id": (user(type="file", file={"file_id": "file-1"}), "a file by its id"),
    "a stop at a line's end": ({"stop": ["\n\n"]}, "stop at white space"),
    "any object": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
        "any keys",
    ),
    "a message of an old function": ({"messages": [{"role": "function", "content": "x"}]}, "the role function"),
}


def test_a_broken_tool_call_of_another_model_stays_as_it_was_written() -> None:
    broken = {"role": "assistant", "tool_calls": [call("a", "{nope")]}
    result = {"role": "tool", "tool_call_id": "a", "content": "the arguments are no JSON"}
    translated = request({"messages": [*HI["messages"], broken, result]})
    [use] = translated["messages"][1]["content"]
    assert use["input"] == {"INVALID_JSON": "{nope"}


@pytest.mark.parametrize(("body", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_an_untranslatable_parameter_is_refused_by_name(body: dict[str, Any], named: str) -> None:
    with pytest.raises(Untranslatable, match=named):
        request(HI | body)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"messages": "Hi"}, "messages is not a list"),
        ({"messages": [3]}, r"messages\[0\] is not an object"),
        ({"messages": [{"content": "x"}]}, r"messages\[0\].role is not a string"),
        (user(type="text"), r"messages\[0\].content\[0\].text is not a string"),
        (user(type="image_url", image_url={"url": "ftp://x"}), "neither http nor data"),
        (HI | {"max_tokens": "9"}, "max_tokens is not a whole number"),
        (HI | {"stop": [3]}, "stop is neither"),
        (HI | {"tools": [{"type": "function", "function": {}}]}, r"tools\[0\].function.name is not a string"),
    ],
)
def test_an_invalid_openai_body_is_refused_with_the_path(body: dict[str, Any], place: str) -> None:
    with pytest.raises(Unreadable, match=place):
        request(body)
