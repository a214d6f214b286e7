from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfall.router_core.jobs.request_body import (
    all_text,
    answer_text,
    get_parameters,
    has_images,
    has_tools,
    last_user_text,
    max_tokens,
    sampling_parameters,
    wants_schema,
)

TOOL = {"type": "function", "function": {"name": "read_file", "description": "Reads a file"}}


def user(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def read(body: Any) -> str:
    return " ".join(all_text(body))


def test_the_topic_of_a_prompt_is_the_last_text_of_its_user() -> None:
    body = {
        "messages": [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "an answer"},
            {"role": "user", "content": [{"type": "text", "text": "second"}, {"type": "text", "text": "part"}]},
            {"role": "assistant", "content": "prefill"},
        ]
    }
    assert last_user_text(body) == "second\npart"


def test_a_tool_result_is_not_the_topic_of_a_prompt() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": "write a class"}
    body = {"messages": [{"role": "user", "content": "why?"}, {"role": "user", "content": [result]}]}
    assert last_user_text(body) == "why?"


@pytest.mark.parametrize("body", [{}, {"messages": []}, {"messages": "x"}, user(None), user(3), {"messages": [7]}])
def test_a_body_without_a_user_text_has_no_topic(body: Any) -> None:
    assert last_user_text(body) == ""


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ({"type": "text", "media_type": "text/plain", "data": "a script"}, "a script"),
        ({"type": "content", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}, "one two"),
        ({"type": "content", "content": "one"}, "one"),
        ({"type": "base64", "media_type": "application/pdf", "data": "AAAA"}, ""),
        ({"type": "file", "file_id": "file_1"}, ""),
        (None, ""),
    ],
)
def test_the_text_of_a_document_is_counted_and_its_bytes_are_not(source: Any, texts: str) -> None:
    assert (
        read(user([{"type": "document", "source": source}, {"type": "text", "text": "why?"}]))
        == f"why? {texts}".strip()
    )


def test_everything_that_a_model_reads_of_an_openai_body_is_counted() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "read_file", "arguments": '{"path": "a b"}'}}
    body = {
        "messages": [
            {"role": "system", "content": "Be brief"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "look here"}, {"type": "image_url", "image_url": {}}],
            },
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "file text"},
        ],
        "tools": [TOOL],
    }
    texts = read(body)
    for words in ("Be brief", "look here", "read_file", '{"path": "a b"}', "file text", "Reads a file"):
        assert words in texts


def test_everything_that_a_model_reads_of_an_anthropic_body_is_counted() -> None:
    body = {
        "system": [{"type": "text", "text": "Be brief"}],
        "messages": [
            {"role": "assistant", "content": [{"type": "tool_use", "name": "sum", "input": {"of": ["one two", 3]}}]},
            {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "file text"}]}]},
        ],
        "tools": [{"name": "sum", "description": "Adds up", "input_schema": {"type": "object"}}],
    }
    texts = read(body)
    for words in ("Be brief", "one two", "file text", "Adds up"):
        assert words in texts


def test_reasoning_that_a_provider_may_drop_is_not_counted() -> None:
    body = {
        "messages": [
            {"role": "assistant", "content": "<think>hidden thoughts</think>shown"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "more hidden"}]},
            {"role": "user", "content": "<think>said</think>"},
        ]
    }
    assert "hidden" not in read(body)
    assert "shown" in read(body)
    assert "said" in read(body)


@pytest.mark.parametrize("choice", ["none", {"type": "none"}])
def test_tools_that_may_not_be_used_are_not_counted(choice: Any) -> None:
    assert read({**user("hi"), "tools": [TOOL], "tool_choice": choice}) == "hi"


@pytest.mark.parametrize(
    "body",
    [
        {**user("x"), "tools": [TOOL]},
        {**user("x"), "functions": [TOOL]},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
        user([{"type": "tool_result", "content": "x"}]),
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use"}]}]},
    ],
)
def test_tools_are_needed_when_they_are_offered_or_were_called(body: Any) -> None:
    assert has_tools(body)


def test_without_tools_none_are_needed() -> None:
    assert not has_tools({**user([{"type": "text", "text": "x"}]), "tools": []})


@pytest.mark.parametrize(
    "body",
    [
        user([{"type": "image_url", "image_url": {"url": "data:"}}]),
        user([{"type": "image", "source": {}}]),
        user([{"type": "tool_result", "content": [{"type": "image", "source": {}}]}]),
        {"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]},
    ],
)
def test_images_are_seen_in_every_dialect(body: Any) -> None:
    assert has_images(body)


def test_text_alone_has_no_images() -> None:
    assert not has_images(user([{"type": "text", "text": "image"}]))


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, True),
        ({"output_format": {"type": "json_schema", "schema": {}}}, True),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, True),
        ({"format": {"type": "object"}}, True),
        ({"response_format": {"type": "json_object"}}, False),
        ({"output_config": {"effort": "high"}}, False),
        ({"format": "json"}, False),
        ({}, False),
    ],
)
def test_a_schema_is_read_in_the_field_of_its_dialect(more: Any, wanted: bool) -> None:
    assert wants_schema({**user("x"), **more}) is wanted


def test_sampling_parameters_are_in_the_body_and_for_ollama_in_options() -> None:
    body = {"temperature": 0.0, "top_k": 3, "top_p": None, "options": {"top_p": 0.5}}
    assert sampling_parameters(body, "openai") == ("temperature", "top_k")
    assert sampling_parameters(body, "anthropic") == ("temperature", "top_k")
    assert sampling_parameters(body, "ollama") == ("top_p",)


def test_ollama_without_options_sets_nothing() -> None:
    assert get_parameters({"options": [1]}, "ollama") == {}


@pytest.mark.parametrize(
    ("body", "dialect", "most"),
    [
        ({"max_tokens": 5, "max_completion_tokens": 7}, "openai", 7),
        ({"max_tokens": 5}, "openai", 5),
        ({"max_tokens": 5}, "anthropic", 5),
        ({"max_tokens": 5, "options": {"num_predict": 9}}, "ollama", 9),
        ({"options": {"num_predict": -1}}, "ollama", None),
        ({"max_tokens": True}, "anthropic", None),
        ({}, "openai", None),
    ],
)
def test_the_longest_answer_is_read_in_its_dialect(body: Any, dialect: Any, most: int | None) -> None:
    assert max_tokens(body, dialect) == most


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"choices": [{"message": {"content": "hi", "reasoning_content": "hm"}}]}, "hi"),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}}]}, "ab"),
        ({"choices": [{"message": {"content": None, "tool_calls": [{}]}}]}, ""),
        ({"choices": []}, ""),
        ({"choices": [3]}, ""),
        (
            {"type": "message", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "hi"}]},
            "hi",
        ),
        ({"message": {"role": "assistant", "content": "hi", "thinking": "hm"}, "done": True}, "hi"),
        ({"response": "hi", "done": True}, "hi"),
        ({"choices": [{"message": {"content": [{"text": "hi"}]}}]}, "hi"),
        ({"choices": [{"message": {"content": None, "reasoning_content": "hm"}}]}, "hm"),
        ({"choices": [{"message": {"content": "", "reasoning": "hm", "tool_calls": [{}]}}]}, ""),
        ({"type": "message", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}]}, "hm"),
        ({"message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": True}, "hm"),
        ({"message": "odd"}, ""),
        ({}, ""),
    ],
)
def test_the_text_of_an_answer_is_read_by_its_shape(body: Any, text: str) -> None:
    assert answer_text(body) == text


ASKING = ("messages", "role", "content", "type", "text", "tools", "tool_calls", "function", "input", "images", "system")
OTHERS = ("choices", "message", "response", "options", "format", "output_config", "response_format", "tool_choice")
KEYS = st.sampled_from((*ASKING, *OTHERS))
WORDS = st.sampled_from(
    ["user", "assistant", "tool", "text", "tool_use", "tool_result", "image", "none", "json_schema"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("a ", max_size=3) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


@given(st.dictionaries(KEYS, JSON, max_size=6))
def test_no_body_is_too_odd_to_be_read(body: Any) -> None:
    assert isinstance(last_user_text(body), str)
    assert isinstance(answer_text(body), str)
    assert all(isinstance(text, str) for text in all_text(body))
    for reader in (has_tools, has_images, wants_schema):
        assert reader(body) in (True, False)
    for dialect in ("openai", "anthropic", "ollama"):
        assert set(sampling_parameters(body, dialect)) <= {"temperature", "top_p", "top_k"}
        assert max_tokens(body, dialect) is None
