"""Request bodies in every dialect."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.producers.errors import BadRequest, PromptTooLarge
from openfall.producers.prompt import build_body, check_messages, check_size, parse_dialect
from openfall.router_core.catalog.catalog_errors import UnknownName

HI = [{"role": "user", "content": "hi"}]


def test_the_default_dialect_is_openai() -> None:
    assert parse_dialect(None) == "openai"
    assert [parse_dialect(name) for name in ("openai", "anthropic", "ollama")] == ["openai", "anthropic", "ollama"]


def test_an_unknown_dialect_suggests_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match=r"unknown dialect 'olama'\. Did you mean 'ollama'\?"):
        parse_dialect("olama")


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "ollama"])
def test_text_becomes_a_user_message_in_every_dialect(dialect: Any) -> None:
    assert build_body("hi", dialect, {}) == {"messages": HI}
    assert build_body(HI, dialect, {"temperature": None}) == {"messages": HI}


PARAMETERS = {"max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "stop": "END"}


def test_parameters_take_the_names_of_the_dialect() -> None:
    assert build_body("hi", "openai", PARAMETERS) == {"messages": HI, **PARAMETERS}
    assert build_body("hi", "anthropic", PARAMETERS) == {
        "messages": HI, "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["END"],
    }  # fmt: skip
    assert build_body(
        {"messages": HI, "options": {"num_ctx": 512, "top_p": 0.1}}, "ollama", {**PARAMETERS, "seed": 3}
    ) == {
        "messages": HI,
        "options": {"num_ctx": 512, "num_predict": 7, "temperature": 0.5, "top_p": 0.9, "stop": "END", "seed": 3},
    }


def test_several_stops_stay_a_list() -> None:
    assert build_body("hi", "anthropic", {"stop": ["a", "b"]})["stop_sequences"] == ["a", "b"]


@pytest.mark.parametrize(
    ("dialect", "parameters"), [("anthropic", {"seed": 1}), ("ollama", {"response_format": {"type": "json_object"}})]
)
def test_a_parameter_unknown_to_the_dialect_is_refused(dialect: Any, parameters: dict[str, Any]) -> None:
    (name,) = parameters
    with pytest.raises(BadRequest, match=f"the {dialect} dialect has no option `{name}`"):
        build_body("hi", dialect, parameters)


def test_a_whole_body_stays_as_it_is_and_the_callers_object_is_not_changed() -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    body = {
        "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
        "messages": [*HI, {"role": "assistant", "content": [thinking]}, *HI],
        "max_tokens": 5,
        "vendor": {"extra": 1},
    }
    before = repr(body)
    assert build_body(body, "anthropic", {}) == body
    assert build_body(body, "anthropic", {"max_tokens": 9}) == {**body, "max_tokens": 9}
    assert repr(body) == before


@pytest.mark.parametrize(
    ("message", "dialect"),
    [
        ({"role": "assistant", "content": None, "tool_calls": [{}]}, "openai"),
        ({"role": "user", "content": [{"type": "tool_result"}]}, "anthropic"),
        ({"role": "user", "images": ["aGk="]}, "ollama"),
        ({"role": "assistant", "tool_calls": [{}]}, "ollama"),
        ({"role": "tool", "content": ""}, "ollama"),
        ({"role": "assistant", "content": "", "thinking": "hm"}, "ollama"),
        ({"role": "assistant", "thinking": "hm"}, "ollama"),
        ({"role": "assistant", "content": None, "refusal": "no"}, "openai"),
        ({"role": "assistant", "content": None, "reasoning_content": "hm"}, "openai"),
        ({"role": "assistant", "content": None, "audio": {"id": "a"}}, "openai"),
        ({"role": "assistant", "content": None}, "openai"),
        ({"role": "assistant", "refusal": "no"}, "openai"),
        ({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}, "openai"),
        ({"role": "function", "name": "f", "content": None}, "openai"),
    ],
)
def test_message_content_need_not_be_text(message: Any, dialect: Any) -> None:
    check_messages([message], dialect)


@pytest.mark.parametrize(
    ("prompt", "dialect", "words"),
    [
        (" ", "openai", "the prompt is empty"),
        ({"prompt": "old"}, "ollama", "`messages` must be a non-empty list"),
        ([3], "anthropic", r"messages\[0\] must be an object {role, content}, not int"),
        ([{"content": "x"}], "anthropic", r'messages\[0\] has no role: write "user" or "assistant"$'),
        ([{"content": "x"}], "ollama", r'messages\[0\] has no role: write "user", "assistant" or "system"$'),
        ([{"role": "assistant", "content": None, "tool_calls": [{}]}], "anthropic", r"messages\[0\] has no content"),
        (
            [{"role": "user", "content": []}],
            "anthropic",
            r"messages\[0\] has no content: write text, or a list of parts",
        ),
        ([{"role": "user", "content": []}], "ollama", r"messages\[0\] has no content: write text; images go into"),
        ([{"role": "user"}], "openai", r"messages\[0\] has no content"),
        ([{"role": "assistant", "name": "x"}], "openai", r"messages\[0\] has no content"),
        ([{"role": "user", "content": None}], "openai", r"messages\[0\] has no content"),
        ({"messages": HI, "system": 3}, "anthropic", "`system` must be text, or a list of text blocks"),
        ({"messages": HI, "options": []}, "ollama", "`options` must be an object"),
        ({"messages": HI, "options": {"temperature": float("nan")}}, "ollama", "`temperature` must be a number"),
        ({"messages": HI, "max_tokens": 0}, "anthropic", "`max_tokens` must be 1 or more, not 0"),
        ({"messages": HI, "top_p": True}, "openai", "`top_p` must be a number, not True"),
    ],
)
def test_a_malformed_body_is_refused(prompt: Any, dialect: Any, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        build_body(prompt, dialect, {})


def test_ollama_accepts_an_unlimited_answer() -> None:
    body = {"messages": HI, "options": {"num_predict": -1}}
    assert build_body(body, "ollama", {}) == body


def test_a_body_must_be_json_within_the_size_limit() -> None:
    check_size({"a": "é"}, 10)
    with pytest.raises(PromptTooLarge, match="the request has 10 bytes, more than the 9 allowed"):
        check_size({"a": "é"}, 9)
    with pytest.raises(BadRequest, match="cannot be written as JSON"):
        check_size({"a": object()}, 9)
