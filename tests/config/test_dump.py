"""A dump shows the whole configuration without its secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from openfall import config
from openfall.config.redact import redact_key, redact_value
from tests.config.config_texts import check


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:hunter2@127.0.0.1:6379/0", "redis://:…@127.0.0.1:6379/0"),
        ("rediss://app:hunter2@cache:6380", "rediss://app:…@cache:6380"),
        ("redis://:hun/t@er?2#@cache", "redis://:…@cache"),
        ("http://token@host:80/v1", "http://…@host:80/v1"),
        ("unix:///run/redis.sock?db=1&password=hunter2", "unix:///run/redis.sock?db=1&password=…"),
        ("https://host/v1?api_key=hunter2&x=1", "https://host/v1?api_key=…&x=1"),
        ("unix://:hunter2@/run/redis.sock", "unix://:…@/run/redis.sock"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redact_value(url) == shown


@pytest.mark.parametrize(
    ("key", "shown"),
    [("", ""), ("ollama", "…"), ("sk-0123456789abcdef", "…"), ("sk-ant-0123456789-x9Qk", "sk-ant-…x9Qk")],
)
def test_a_key_is_shown_so_that_it_can_be_identified(key: str, shown: str) -> None:
    assert redact_key(key) == shown


def test_a_configuration_is_shown_whole_with_its_secrets_masked(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text(
        "redis: redis://:hunter2@a/0\n"
        "backends:\n"
        "  maker: {url: 'https://example.invalid/v1?key=hunter2', pool: cloud, api_key: '${KEY}'}\n"
        "  tower: {url: 'http://127.0.0.1:1', pool: gpu, embedded: yes, engine: {model: /srv/$$a.gguf}}\n"
        "models: {haiku: {upstream: 'ha$iku', backends: [maker], timeout: 90}}\n"
    )
    loaded = config.load(file, environ={"KEY": "sk-ant-0123456789-x9Qk"}, cwd=tmp_path)
    text = config.dump(loaded)
    assert "hunter2" not in text
    assert "0123456789" not in text
    assert text.startswith(f"# In force, from {file}\n")
    result = yaml.safe_load(text)
    assert list(result) == [
        "redis", "data", "pools", "backends", "models", "roles", "tasks", "groups", "budgets", "spend", "urgency",
        "breakers", "retry", "open_fall", "privacy", "retention", "limits", "webhooks", "workers", "gateway", "logs",
        "traces",
    ]  # fmt: skip
    assert result["redis"] == "redis://:…@a/0"
    assert result["backends"]["maker"]["api_key"] == "sk-ant-…x9Qk"
    assert "api_key" not in result["backends"]["tower"]
    assert result["backends"]["tower"]["engine"] == {
        "model": "/srv/$$a.gguf",
        "context": 2048,
        "parallel": 4,
        "gpu_layers": 0,
    }
    assert result["models"]["haiku"] == {
        "upstream": "ha$$iku",
        "backends": ["maker"],
        "context": 4096,
        "timeout": "90s",
        "tools": True,
        "json_schema": True,
        "images": False,
        "pinned": False,
        "preload": False,
        "flex": False,
    }
    assert result["urgency"]["interactive"] == {
        "start_within": "5s",
        "expires_after": "2m",
        "reply_within": "14s",
        "timeout": "90s",
        "first_token_timeout": "5s",
        "stall_timeout": "5s",
        "min_share": 0.0,
        "max_queued": 10_000,
        "allow_cloud": "yes",
    }
    assert result["breakers"]["open_for"] == "30s"
    assert result["retry"] == {"max_retries": 3, "initial_backoff": "1s", "max_backoff": "1m", "retry_budget": 0.2}
    assert result["privacy"] == {"keep_prompts": False, "local_only": False}
    assert result["retention"] == {"results": "24h", "unread": "7d"}
    assert result["limits"] == {"max_prompt": "4MiB", "max_memory": 0.85}
    assert result["webhooks"] == {"private": False}


def test_several_keys_are_read_from_variables_and_each_is_masked(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text("backends: {sky: {url: 'https://a.invalid', pool: cloud, api_keys: ['${A}', '${B:-}', '${C}']}}\n")
    loaded = config.load(file, environ={"A": "sk-ant-0123456789-x9Qk", "C": "hunter2"}, cwd=tmp_path)
    assert loaded.catalog.backends["sky"].secrets == ("sk-ant-0123456789-x9Qk", "hunter2")
    assert "hunter2" not in repr(loaded.catalog)
    text = config.dump(loaded)
    assert ("0123456789" in text, "hunter2" in text) == (False, False)
    assert yaml.safe_load(text)["backends"]["sky"]["api_keys"][::2] == ["sk-ant-…x9Qk", "…"]


def test_keys_without_a_value_are_reported_with_line_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text("backends:\n  sky: {url: 'https://a.invalid', pool: cloud, api_keys: ['${A:-}', '${B:-}']}\n")
    (problem,) = check(file, environ={}, cwd=tmp_path)
    assert (problem.line, problem.path) == (2, "backends.sky.api_keys")
    assert "none of its keys has a value: set their variables" in str(problem)


def test_a_dump_can_be_loaded_and_means_the_same(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text(
        "data: /srv/o$$penfall\n"
        "pools: {rack: {local: yes}}\n"
        "backends: {tower: {url: 'http://127.0.0.1:1', pool: rack}}\n"
        "models: {'8': {upstream: 'no', backends: [tower], timeout: 1500ms}}\n"
        "roles: {chat: {chain: ['8'], urgency: batch}}\n"
        "limits: {max_prompt: 1001}\n"
    )
    first = config.load(file, environ={}, cwd=tmp_path)
    file.write_text(config.dump(first))
    assert config.load(file, environ={}, cwd=tmp_path) == first


@pytest.mark.parametrize(
    "text",
    [
        "backends: {sky: {url: 'https://a.invalid', pool: cloud, api_key: 'sk-ant-…x9Qk'}}",
        "backends: {sky: {url: 'https://a.invalid', pool: cloud, auth_token: …}}",
        "backends: {sky: {url: 'https://a.invalid', pool: cloud, api_keys: [a-real-one, …]}}",
        "backends: {sky: {url: 'https://a.invalid/v1?key=…', pool: cloud}}",
        "redis: redis://:…@127.0.0.1:6379/0",
        "webhooks: {secret: …}",
        "open_fall: {notify: {discord: https://discord.com/api/webhooks/123/…}}",
        "open_fall: {notify: {webhook: https://ops.example.com/…}}",
        "backends: {sky: {url: 'https://a.invalid', pool: cloud, api_key: '${KEY}'}}",
    ],
)
def test_a_masked_secret_cannot_be_loaded_as_a_secret(tmp_path: Path, text: str) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text(text, encoding="utf-8")
    problems = check(file, environ={"KEY": "sk-ant-…x9Qk"}, cwd=tmp_path)
    assert problems[0].line == 1
    assert "is masked, as `openfall config show` prints it. Write the secret itself" in str(problems[0])
