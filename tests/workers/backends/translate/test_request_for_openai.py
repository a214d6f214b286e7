"""Anthropic's requests in OpenAI's dialect: the content survives, and the official types accept all of it."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.workers.backends.translate.refusals import Unreadable, Untranslatable
from openfall.workers.backends.translate.request_for_openai import request
from tests.workers.backends.translate.official import OPENAI, known

HI: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}
LOOK = {"name": "look", "description": "Look up.", "input_schema": SCHEMA}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
IMAGE_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def result(id: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **more}


def translate_body(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The translated request, which the official types know to the last field."""
    body = request({"messages": list(messages) or HI["messages"], **more})
    assert known(OPENAI, body) == {"model": "m", **body}
    return body


def test_a_conversation_with_parallel_tools_keeps_all_its_parts() -> None:
    body = translate_body(
        {"role": "user", "content": "What do you see?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Look up.", "signature": "EqQB"},
                {"type": "redacted_thinking", "data": "Emw"},
                text("I "),
                text("look."),
                {"type": "tool_use", "id": "a", "name": "look", "input": {"at": "sky"}},
                {"type": "tool_use", "id": "b", "name": "look", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [result("a", "stars"), result("b", [text("a crowd"), IMAGE], is_error=True), text("And now?")],
        },
        {"role": "assistant", "content": "Lanterns."},
        system=[text("Speak as Haruka.") | {"cache_control": {"type": "ephemeral"}}, text("Briefly.")],
        tools=[LOOK | {"strict": True, "cache_control": {"type": "ephemeral"}}],
        max_tokens=50,
    )
    calls = [
        {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"at":"sky"}'}},
        {"id": "b", "type": "function", "function": {"name": "look", "arguments": "{}"}},
    ]
    look = {"name": "look", "description": "Look up.", "parameters": SCHEMA}  # OpenAI would refuse `strict` for it
    assert body == {
        "messages": [
            {"role": "system", "content": "Speak as Haruka.\n\nBriefly."},
            {"role": "user", "content": "What do you see?"},
            {"role": "assistant", "content": "I look.", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "a", "content": "stars"},
            {"role": "tool", "tool_call_id": "b", "content": "The tool failed. a crowd"},
            {"role": "user", "content": [IMAGE_PART, text("And now?")]},
            {"role": "assistant", "content": "Lanterns."},
        ],
        "tools": [{"type": "function", "function": look}],
        "max_tokens": 50,
    }


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
            {"tool_choice": {"type": "function", "function": {"name": "look"}}, "parallel_tool_calls": False},
        ),
    ],
)
def test_the_tool_choice_is_translated(fields: dict[str, Any], meant: dict[str, Any]) -> None:
    body = translate_body(tools=[LOOK], tool_choice=fields)
    assert {key: value for key, value in body.items() if key in ("tool_choice", "parallel_tool_calls")} == meant


PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}
FOUND = {"type": "search_result", "title": "Stars", "source": "https://h/s", "content": [text("many")]}


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        (IMAGE, [IMAGE_PART]),
        (
            {"type": "image", "source": {"type": "url", "url": "https://h/a.png"}},
            [{"type": "image_url", "image_url": {"url": "https://h/a.png"}}],
        ),
        (
            {"type": "document", "source": PDF, "title": "a.pdf", "context": "An old map."},
            [
                text("An old map."),
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
            ],
        ),
        (
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}, "title": "T"},
            [text("T\n\nwords")],
        ),
        ({"type": "document", "source": {"type": "content", "content": [text("a"), IMAGE]}}, [text("a"), IMAGE_PART]),
        (FOUND, [text("Stars\nhttps://h/s"), text("many")]),
    ],
)
def test_images_and_documents_are_kept(block: dict[str, Any], parts: list[dict[str, Any]]) -> None:
    body = translate_body({"role": "user", "content": [block, text("What is it?")]})
    assert body["messages"] == [{"role": "user", "content": [*parts, text("What is it?")]}]


def test_limits_stops_users_and_temperatures_take_openais_form() -> None:
    body = translate_body(max_tokens=7, stop_sequences=["END"], metadata={"user_id": "u-1"}, temperature=0.3, top_p=0.5)
    assert body == HI | {"max_tokens": 7, "stop": ["END"], "user": "u-1", "temperature": 0.3, "top_p": 0.5}


def test_what_claude_code_says_of_its_history_refuses_no_model() -> None:
    edits = [{"type": "clear_thinking_20251015", "keep": "all"}]
    assert translate_body(context_management={"edits": edits}, thinking={"type": "adaptive"}) == HI


def test_parameters_that_only_tune_are_omitted() -> None:
    tuned = {"top_k": 3, "service_tier": "auto", "cache_control": {"type": "ephemeral"}, "stream": True, "model": "x"}
    assert translate_body(**tuned) == HI


CLOSED = SCHEMA | {"additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (CLOSED, True),
        (SCHEMA, False),
        (CLOSED | {"required": []}, False),
        (CLOSED | {"properties": {"at": {"type": "array", "items": SCHEMA}}}, False),
        (CLOSED | {"properties": {"at": {"anyOf": [CLOSED, {"type": "null"}]}}}, True),
    ],
)
def test_a_schema_for_the_answer_is_strict_where_openai_accepts_it(schema: dict[str, Any], strict: bool) -> None:
    fields = {"type": "json_schema", "schema": schema}
    for body in (translate_body(output_config={"format": fields}), translate_body(output_format=fields)):
        named = {"name": "answer", "schema": schema} | ({"strict": True} if strict else {})
        assert body["response_format"] == {"type": "json_schema", "json_schema": named}


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 60000}}, "high"),
        ({"thinking": {"type": "disabled"}}, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}, "medium"),
        ({"output_config": {"effort": "max"}}, "high"),
        ({}, None),
    ],
)
def test_a_budget_of_thinking_is_an_effort(fields: dict[str, Any], effort: str | None) -> None:
    assert translate_body(**fields).get("reasoning_effort") == effort


def test_a_system_message_in_the_middle_stays_there() -> None:
    body = translate_body(
        *HI["messages"], {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go on"}
    )
    assert [message["role"] for message in body["messages"]] == ["user", "system", "user"]


def user(**block: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [block]}]}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a container": ({"container": "c"}, "container"),
    "servers of tools": ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
    "a tool of the server": ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "type web_search_20250305"),
    "an image by its file": (user(type="image", source={"type": "file", "file_id": "f"}), "an image from file"),
    "a document by its url": (user(type="document", source={"type": "url", "url": "x"}), "a document from url"),
    "a format of another kind": ({"output_config": {"format": {"type": "regex"}}}, "output_config.format"),
}


@pytest.mark.parametrize(("body", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_an_untranslatable_parameter_is_refused_by_name(body: dict[str, Any], named: str) -> None:
    with pytest.raises(Untranslatable, match=named):
        request(HI | body)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"messages": "Hi"}, "messages is not a list"),
        ({"messages": [{"role": "user", "content": 3}]}, r"messages\[0\].content is not a list"),
        (user(type="tool_result"), r"messages\[0\].content\[0\].tool_use_id is not a string"),
        (HI | {"tools": [{"name": "x"}]}, r"tools\[0\].input_schema is not an object"),
        (HI | {"max_tokens": "9"}, "max_tokens is not a whole number"),
    ],
)
def test_an_invalid_anthropic_body_is_refused_with_the_path(body: dict[str, Any], place: str) -> None:
    with pytest.raises(Unreadable, match=place):
        request(body)
