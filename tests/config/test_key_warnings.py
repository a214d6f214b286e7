"""A placeholder in the place of a key, a key in the file itself, and a provider of which a variable is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from openfall import config
from openfall.router_core.catalog.backend_keys import is_placeholder

FILE = """
backends:
  api: {protocol: openai, pool: cloud, %s}
  own: {protocol: openai, url: "http://127.0.0.1:1", pool: gpu, api_key: your-key}
models:
  m: {upstream: x, backends: [api], context: 1k}
  n: {upstream: x, backends: [own], context: 1k}
roles: {chat: {chain: [m]}}
"""
PLACEHOLDER = "it is a placeholder, not a key. Write the key of your provider."


def warnings(directory: Path, keys: str, **environ: str) -> list[str]:
    (directory / "openfall.yaml").write_text(FILE % keys)
    return [str(warning) for warning in config.load(environ=environ, cwd=directory).warnings]


def hints(directory: Path, **environ: str) -> list[str]:
    (directory / ".git").mkdir()
    return [warning.message for warning in config.load(environ=environ, cwd=directory).warnings]


@pytest.mark.parametrize(
    "key",
    ["sk-your-key-here", "your_api_key", "YOUR-OPENAI-KEY", "yourkey", "sk-ant-...", "sk-xxxx", "xxx", "changeme",
     "sk-change-me", "replace_me", "<key>", "sk-<your key>", "insert-key-here", "api-key-here", "TODO", "API_KEY",
     "sk-ant-api03-xxxxxxxx", "placeholder", "****", " my-api-key "],
)  # fmt: skip
def test_a_text_that_examples_write_is_a_placeholder(key: str) -> None:
    assert is_placeholder(key)


@pytest.mark.parametrize(
    "key",
    ["", "sk-0123456789abcdefghij", "sk-ant-api03-xK9xxxQ1-0yourW", "sk-proj-T0dO_x-x0", "gsk_nullZ0000a"],
)
def test_what_a_provider_may_have_made_is_none(key: str) -> None:
    assert not is_placeholder(key)


def test_a_placeholder_is_named_with_its_place_and_its_variable(tmp_path: Path) -> None:
    assert warnings(tmp_path, "api_key: sk-your-key") == [f"openfall.yaml:3 backends.api.api_key: {PLACEHOLDER}"]
    named = warnings(tmp_path, 'auth_token: "${TOKEN:-}"', TOKEN="changeme")
    assert named == [f"TOKEN (read at openfall.yaml:3 backends.api.auth_token): {PLACEHOLDER}"]
    (tmp_path / "openfall.yaml").unlink()
    assert hints(tmp_path, OPENAI_MODEL="gpt-5", OPENAI_API_KEY="sk-...") == ["it is a placeholder, not a key"]


def test_a_key_in_the_file_is_named_and_not_shown(tmp_path: Path) -> None:
    keys = 'api_keys: [sk-0123456789, "${API_KEY}"]'
    (warning,) = warnings(tmp_path, keys, API_KEY="sk-abcdefghij")
    assert warning == (
        "openfall.yaml:3 backends.api.api_keys: the key stands in this file. "
        'Write "${API_API_KEY:-}" here, and the key into .env.'
    )


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"OPENAI_API_KEY": "sk-1"}, ["OPENAI_API_KEY is set without OPENAI_MODEL"]),
        ({"ANTHROPIC_MODEL": "claude-haiku-4-5"}, ["ANTHROPIC_MODEL is set without ANTHROPIC_API_KEY"]),
        (
            {"OPENAI_BASE_URL": "http://127.0.0.1:1", "ANTHROPIC_AUTH_TOKEN": "t"},
            ["OPENAI_BASE_URL is set without OPENAI_MODEL", "ANTHROPIC_AUTH_TOKEN is set without ANTHROPIC_MODEL"],
        ),
        ({"ANTHROPIC_API_KEY": "sk-1", "OPENAI_MODEL": "gpt-5", "OPENAI_API_KEY": "sk-1"}, []),
        ({}, []),
    ],
)
def test_the_demo_names_the_variable_that_a_provider_lacks(
    tmp_path: Path, environ: dict[str, str], expected: list[str]
) -> None:
    demo = ", so the demo runs with its toy model"
    assert hints(tmp_path, **environ) == [text + demo for text in expected]
