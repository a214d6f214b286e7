"""Callers may name a model by the id of its provider, where it means one model."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_errors import AmbiguousName, UnknownName
from openfall.router_core.catalog.model_entry import ModelSpec

UPSTREAMS = {
    "opus": "claude-opus-4-6",
    "haiku": "claude-haiku-4-5",
    "sonnet": "claude-sonnet-4-5-20250929",
    "older": "claude-sonnet-4-5-20250101",
    "coder": "qwen2.5-coder:32b",
    "tiny": "tinyllama:latest",
    "smol-a": "smollm2-135m",
    "smol-b": "smollm2-135m",
}
CATALOG = Catalog(
    backends={"tower": Backend(url="http://127.0.0.1:1", pool="gpu")},
    models={alias: ModelSpec(upstream=upstream, backends=("tower",)) for alias, upstream in UPSTREAMS.items()},
)


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("opus", "opus"),
        ("claude-opus-4-6", "opus"),
        ("anthropic/claude-opus-4.6", "opus"),
        ("openrouter/anthropic/claude-opus-4.6", "opus"),
        ("Claude-Opus-4.6", "opus"),
        ("us.anthropic.claude-opus-4-6-v1:0", "opus"),
        ("claude-haiku-4-5-20251001", "haiku"),
        ("claude-haiku-4-5@20251001", "haiku"),
        ("claude-haiku-4-5-latest", "haiku"),
        ("claude-sonnet-4-5-20250929", "sonnet"),
        ("anthropic/claude-sonnet-4.5-20250101", "older"),
        ("qwen2.5-coder:32b", "coder"),
        ("ollama/qwen2.5-coder:32b", "coder"),
        ("qwen2.5-coder-32b", "coder"),
        ("tinyllama", "tiny"),
        ("anthropic/opus", "opus"),
    ],
)
def test_an_id_of_a_provider_is_taken_as_the_alias_that_it_means(name: str, alias: str) -> None:
    assert CATALOG.find_model(name) == alias


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smollm2-135m", "'smollm2-135m' could be 'smol-a' or 'smol-b'. Name one of them."),
        ("claude-sonnet-4.5", "'claude-sonnet-4.5' could be 'sonnet' or 'older'. Name one of them."),
    ],
)
def test_an_id_of_several_models_is_an_error_that_names_them(name: str, message: str) -> None:
    with pytest.raises(AmbiguousName) as caught:
        CATALOG.find_model(name)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("anthropic/claude-opus-4.5", "Did you mean 'opus' (claude-opus-4-6)?"),
        ("haikuu", "Did you mean 'haiku'?"),
        ("gpt-4.1", "Known: coder, haiku, older, opus, smol-a, smol-b, sonnet, tiny."),
    ],
)
def test_an_unknown_id_is_an_error_that_names_the_nearest_alias(name: str, remedy: str) -> None:
    with pytest.raises(UnknownName) as caught:
        CATALOG.find_model(name)
    assert str(caught.value) == f"unknown model {name!r}. {remedy}"


@pytest.mark.parametrize("name", ["a" * 257, "claude-opus-4-6" * 100, "@20250929" * 1000])
def test_a_text_that_is_too_long_for_a_name_is_compared_with_none_and_not_shown_whole(name: str) -> None:
    with pytest.raises(UnknownName) as caught:
        CATALOG.find_model(name)
    message = str(caught.value)
    assert f"unknown model {name[:40]!r}... of {len(name):,} characters. Known: coder, haiku," in message
    assert len(message) < 300
