"""From a prompt to a body, in every dialect."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.producers.errors import BadRequest, PromptTooLarge
from openfall.producers.prompt import (
    build_body,
    check_messages,
    check_size,
    parse_dialect,
)
from openfall.router_core.catalog.errors import UnknownName

HI = [{"role": "user", "content": "hi"}]


def test_without_a_word_the_dialect_is_that_of_openai() -> None:
    assert parse_dialect(None) == "openai"
    assert [parse_dialect(told) for told in ("openai", "anthropic", "ollama")] == ["openai", "anthropic", "ollama"]


def test_an_unknown_dialect_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown dialect 'olama'\. Did you mean 'ollama'\?"):
        parse_dialect("olama")


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "ollama"])
def test_a_text_is_a_message_of_the_user_in_every_dialect(dialect: Any) -> None:
    assert build_body("hi", dialect, {}) == {"messages": HI}
    assert build_body(HI, dialect, {"temperature": None}) == {"messages": HI}


SAID = {"max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "stop": "END"}


def test_parameters_get_the_names_of_their_dialect() -> None:
    assert build_body("hi", "openai", SAID) == {"messages": HI, **SAID}
    assert build_body("hi", "anthropic", SAID) == {
        "messages": HI, "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["END"],
    }  # fmt: skip
    assert build_body({"messages": HI, "options": {"num_ctx": 512, "top_p": 0.1}}, "ollama", {**SAID, "seed": 3}) == {
        "messages": HI,
        "options": {"num_ctx": 512, "num_predict": 7, "temperature": 0.5, "top_p": 0.9, "stop": "END", "seed": 3},
    }


def test_several_stops_stay_a_list() -> None:
    assert build_body("hi", "anthropic", {"stop": ["a", "b"]})["stop_sequences"] == ["a", "b"]


@pytest.mark.parametrize(
    ("dialect", "given"), [("anthropic", {"seed": 1}), ("ollama", {"response_format": {"type": "json_object"}})]
)
def test_a_parameter_without_a_place_in_the_dialect_is_refused(dialect: Any, given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(BadRequest, match=f"the {dialect} dialect has no option `{name}`"):
        build_body("hi", dialect, given)


def test_a_whole_body_is_kept_as_it_is_and_the_callers_own_is_not_touched() -> None:
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
    ],
)
def test_a_message_may_say_something_other_than_text(message: Any, dialect: Any) -> None:
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
        ({"messages": HI, "system": 3}, "anthropic", "`system` must be text, or a list of text blocks"),
        ({"messages": HI, "options": []}, "ollama", "`options` must be an object"),
        ({"messages": HI, "options": {"temperature": float("nan")}}, "ollama", "`temperature` must be a number"),
        ({"messages": HI, "max_tokens": 0}, "anthropic", "`max_tokens` must be 1 or more, not 0"),
        ({"messages": HI, "top_p": True}, "openai", "`top_p` must be a number, not True"),
    ],
)
def test_what_no_backend_of_the_dialect_could_answer_is_refused(prompt: Any, dialect: Any, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        build_body(prompt, dialect, {})


def test_ollama_may_be_asked_for_an_endless_answer() -> None:
    body = {"messages": HI, "options": {"num_predict": -1}}
    assert build_body(body, "ollama", {}) == body


def test_a_body_has_a_size_and_is_json() -> None:
    check_size({"a": "é"}, 10)
    with pytest.raises(PromptTooLarge, match="the request has 10 bytes, more than the 9 allowed"):
        check_size({"a": "é"}, 9)
    with pytest.raises(BadRequest, match="cannot be written as JSON"):
        check_size({"a": object()}, 9)
