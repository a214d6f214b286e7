"""A body whose fields have not the shape of their API is refused before it reaches a provider."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.producers.errors import BadRequest
from openfall.producers.prompt import build_body

HI = [{"role": "user", "content": "hi"}]
NAMED = {"name": "wave", "parameters": {}}


@pytest.mark.parametrize(
    ("dialect", "field", "value", "words"),
    [
        ("openai", "tools", "wave", "`tools` must be a list, not text"),
        ("openai", "tools", [3], r"tools\[0\] must be an object, not 3"),
        ("openai", "tools", [{"type": "function"}], r"tools\[0\]\.function must be an object \{name"),
        ("openai", "tools", [{"type": "function", "function": {}}], r"tools\[0\]\.function has no name"),
        ("openai", "tool_choice", 3, "`tool_choice` must be text or an object, not 3"),
        ("openai", "response_format", "json", "`response_format` must be an object, not text"),
        ("openai", "stream_options", [], "`stream_options` must be an object, not list"),
        ("ollama", "tools", [{"function": "wave"}], r"tools\[0\]\.function must be an object"),
        ("ollama", "format", 3, "`format` must be text or an object, not 3"),
        ("anthropic", "tools", [{"input_schema": {}}], r"tools\[0\] has no name"),
        ("anthropic", "tool_choice", "auto", "`tool_choice` must be an object, not text"),
        ("anthropic", "thinking", True, "`thinking` must be an object, not True"),
        ("responses", "tools", [{"type": "function"}], r"tools\[0\] has no name"),
        ("responses", "text", "json", "`text` must be an object, not text"),
        ("responses", "instructions", 3, "`instructions` must be text, not 3"),
        ("responses", "metadata", "x", "`metadata` must be an object, not text"),
        ("responses", "metadata", {"k": 3}, "`metadata` must have text under the key 'k', not 3"),
        ("responses", "metadata", {"k": None}, "`metadata` must have text under the key 'k', not None"),
        ("responses", "metadata", {"night": "x" * 513}, "`metadata` has 513 characters under the key 'night', over"),
        ("responses", "metadata", {"k" * 65: ""}, "the key 'k{64}'... of `metadata` has 65 characters, over the 64"),
        ("responses", "metadata", {str(n): "" for n in range(17)}, "`metadata` has 17 pairs, over the 16 allowed"),
    ],
)
def test_a_field_of_another_shape_is_refused(dialect: Any, field: str, value: Any, words: str) -> None:
    prompt = {"input": "hi"} if dialect == "responses" else {"messages": HI}
    with pytest.raises(BadRequest, match=words):
        build_body({**prompt, field: value}, dialect, {})


@pytest.mark.parametrize(
    ("dialect", "more"),
    [
        ("openai", {"tools": [{"type": "function", "function": NAMED}], "tool_choice": "required"}),
        ("openai", {"tools": [{"type": "custom", "custom": {"name": "shell"}}], "response_format": {"type": "text"}}),
        ("openai", {"tools": ({"type": "function", "function": NAMED},), "functions": [NAMED]}),
        ("openai", {"tools": None, "tool_choice": None, "stream_options": None}),
        ("responses", {"metadata": {f"{n:>64}": "🏮" * 512 for n in range(16)}}),
        ("openai", {"metadata": {"tags": ["night"], "run": 7}}),
        ("responses", {"metadata": {"": ""}}),
        ("anthropic", {"metadata": {"user_id": "x" * 600}}),
        ("ollama", {"tools": [{"function": NAMED}], "format": "json"}),
        ("anthropic", {"tools": [{"name": "wave", "input_schema": {}}, {"type": "web_search_20250305", "name": "x"}]}),
        ("anthropic", {"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}], "tool_choice": {"type": "any"}}),
        ("responses", {"tools": [{"type": "function", **NAMED}, {"type": "web_search"}], "text": {"format": {}}}),
    ],
)
def test_what_an_api_takes_stays_as_it_is(dialect: Any, more: dict[str, Any]) -> None:
    body = {**({"input": "hi"} if dialect == "responses" else {"messages": HI}), **more}
    assert build_body(body, dialect, {}) == body


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "ollama", "responses"])
def test_a_misspelt_role_is_refused_with_the_nearest(dialect: Any) -> None:
    name = "input" if dialect == "responses" else "messages"
    for role, meant in {"usr": "user", "User": "user", " user": "user", "assitant": "assistant"}.items():
        with pytest.raises(BadRequest, match=rf"\[0\] has the role {role!r}: did you mean '{meant}'\?"):
            build_body({name: [{"role": role, "content": "hi"}]}, dialect, {})


@pytest.mark.parametrize("role", ["user", "ipython", "critic", "model", "latest_reminder", "x" * 1_000_000])
def test_a_role_that_is_like_none_is_for_the_model_to_judge(role: str) -> None:
    assert build_body([{"role": role, "content": "hi"}], "openai", {})["messages"][0]["role"] == role


@pytest.mark.parametrize(
    ("dialect", "body", "words"),
    [
        ("openai", {"input": "hi"}, r"`messages` is missing: `input` is a field of Responses \(/v1/responses\)"),
        ("openai", {"prompt": "hi"}, r"`messages` is missing: `prompt` is a field of completions"),
        ("openai", {"contents": [{}]}, "`contents` is a field of Google's API"),
        ("responses", {"messages": HI}, r"`input` is missing: `messages` is a field of chat completions"),
        ("anthropic", {"input": "hi"}, "`messages` is missing: `input` is a field of Responses"),
    ],
)
def test_a_prompt_in_the_field_of_another_api_is_named(dialect: Any, body: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        build_body(body, dialect, {})
