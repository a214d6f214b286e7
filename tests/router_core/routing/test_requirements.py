from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.jobs.prompt_tokens import IMAGE_TOKENS
from openfall.router_core.routing.requirements import (
    Requirements,
    count_words,
    ignored_parameters,
    incompatibility,
    requirements_for,
)
from openfall.router_core.vocabulary import JobKind


def model(**fields: Any) -> ModelSpec:
    return ModelSpec(upstream="m", backends=("here",), **fields)


def prompt(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def test_the_needs_of_a_body_are_read_in_its_dialect() -> None:
    body = {
        "system": "Be brief",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "see this"}, {"type": "image"}]}],
        "tools": [{"name": "t"}],
        "output_format": {"type": "json_schema"},
        "temperature": 1,
    }
    assert requirements_for(body, "anthropic") == Requirements(
        tokens_at_least=6, tokens=6 + IMAGE_TOKENS, tools=True, json_schema=True, images=True, sampling=("temperature",)
    )


def test_a_plain_prompt_needs_nothing_but_room() -> None:
    assert requirements_for(prompt("three words here"), "openai") == Requirements(tokens_at_least=3, tokens=5)


@pytest.mark.parametrize(
    ("text", "tokens"), [("a\n\tb  c", 3), ("", 0), ("長い文章には空白がない", 1), ("x" * 9999, 78)]
)
def test_a_word_counts_as_one_token_at_least(text: str, tokens: int) -> None:
    assert requirements_for(prompt(text), "openai").tokens_at_least == tokens


@pytest.mark.parametrize(
    ("text", "tokens"), [("a b c", 3), ("", 0), ("長い文章には空白がない", 9), ("x" * 9999, 2857), ("a\ud800" * 8, 9)]
)
def test_limits_of_tokens_have_the_estimate_that_callers_get(text: str, tokens: int) -> None:
    assert requirements_for(prompt(text), "openai").tokens == tokens


def test_a_prompt_that_may_just_fit_is_left_to_the_backend() -> None:
    assert incompatibility(model(context=100), Requirements(tokens_at_least=100)) is None


@pytest.mark.parametrize(
    ("spec", "needs", "words"),
    [
        (
            {"context": 4096},
            Requirements(tokens_at_least=5120),
            "its context is 4096 tokens, the prompt has at least 5120",
        ),
        ({"tools": False}, Requirements(tools=True), "it does not support tools"),
        ({"json_schema": False}, Requirements(json_schema=True), "it does not support JSON schemas"),
        ({"images": False}, Requirements(images=True), "it does not support images"),
    ],
)
def test_an_incompatibility_names_what_the_model_lacks(spec: Any, needs: Requirements, words: str) -> None:
    assert incompatibility(model(**spec), needs) == words
    assert incompatibility(model(context=9999, tools=True, json_schema=True, images=True), needs) is None


def test_a_model_without_sampling_parameters_serves_and_the_ignored_ones_are_named() -> None:
    needs = Requirements(sampling=("temperature", "top_k"))
    spec = model(sampling_params=False)
    assert incompatibility(spec, needs) is None
    assert ignored_parameters(spec, needs) == "without temperature, top_k, which it does not accept"
    assert ignored_parameters(spec, Requirements()) == ""
    assert ignored_parameters(model(), needs) == ""


def test_a_long_run_has_a_token_for_each_128_visible_characters() -> None:
    needs = requirements_for(prompt("A" * 3_000_000), "openai")
    assert needs.tokens_at_least == 3_000_000 // 128
    assert incompatibility(model(context=16_384), needs) is not None
    assert requirements_for(prompt(" \n\t\r" * 750_000), "openai").tokens_at_least == 0
    embedded = requirements_for({"input": "A" * 3_000_000}, "openai", JobKind.EMBEDDING)
    assert embedded.tokens_at_least == 1


@pytest.mark.parametrize("word", ["a ", "ab", " a", "\u3000あ", "   ", "a\n"])
def test_words_are_counted_alike_in_a_text_of_many_parts(word: str) -> None:
    for text in (word * 100_000, "x" + word * 70_001):
        assert count_words([text]) == len(text.split())
