"""`openfall config`, as people run it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.producers.cli.conftest import Run


@pytest.fixture
def home(environment: dict[str, str], tmp_path: Path) -> Path:
    """The working directory, whose configuration is used because no variable names another."""
    environment["OPENFALL_CONFIG"] = ""
    return tmp_path


def test_every_error_is_printed_with_its_line_and_the_command_exits_with_2(openfall: Run, home: Path) -> None:
    (home / "openfall.yaml").write_text("backends: {}\nroles: {chat: {chian: [x]}}\nmodles: {}\n")
    ran = openfall("config", "check")
    assert ran.returncode == 2
    assert 'openfall.yaml:2 roles.chat: unknown key "chian". Did you mean "chain"?' in ran.stdout
    assert 'openfall.yaml:3: unknown key "modles". Did you mean "models"?' in ran.stdout


def test_a_valid_configuration_is_confirmed_and_shown_with_its_secrets_masked(openfall: Run, home: Path) -> None:
    (home / "openfall.yaml").write_text(
        "backends: {api: {url: 'https://api.example.com', pool: cloud, api_key: sk-ant-0123456789abcdefx9Qk}}\n"
        "models: {big: {upstream: big, backends: [api]}}\nroles: {chat: {chain: [big]}}\n"
    )
    assert "valid" in openfall("config", "check").stderr
    shown = openfall("config", "show")
    assert shown.returncode == 0
    assert "x9Qk" in shown.stdout
    assert "0123456789" not in shown.stdout + shown.stderr


def test_an_editor_can_be_helped(openfall: Run, home: Path) -> None:
    (home / "openfall.yaml").write_text("this: is not even read\n")
    ran = openfall("config", "schema")
    assert ran.returncode == 0
    schema = json.loads(ran.stdout)
    Draft202012Validator.check_schema(schema)
    editor = Draft202012Validator(schema)
    assert editor.is_valid({"roles": {"chat": {"chain": ["a"]}}})
    assert not editor.is_valid({"roles": {"chat": {"chian": ["a"]}}})


def test_check_and_show_name_where_each_variable_comes_from_without_its_value(
    openfall: Run, home: Path, environment: dict[str, str]
) -> None:
    (home / "openfall.yaml").write_text(
        "backends: {api: {url: 'https://api.example.com', pool: cloud, api_key: '${API_KEY:-}'}}\n"
        "models: {big: {upstream: '${MODEL:-big}', backends: [api]}}\n"
    )
    (home / ".env").write_text("# keys\nAPI_KEY=sk-hunter2\nMODEL=huge\n")
    (home / ".env").chmod(0o644)
    environment["MODEL"] = "small"
    checked, shown = openfall("config", "check"), openfall("config", "show")
    assert checked.returncode == shown.returncode == 0
    for text in (checked.stderr, shown.stdout):
        assert "API_KEY: .env:2\n" in text
        assert "MODEL: the environment, not .env:3\n" in text
        assert "hunter2" not in text
    assert "Warning: .env: every user of this machine can read it" in checked.stderr
    (home / ".env").write_text("API_KEY=sk-hunter2\nsk-hunter2\n")
    broken = openfall("config", "check")
    assert (broken.returncode, broken.stdout.partition(":")[0]) == (2, ".env")
    assert "hunter2" not in broken.stdout + broken.stderr


def test_a_template_of_the_env_file_is_printed(openfall: Run, home: Path) -> None:
    ran = openfall("config", "env-example")
    assert "# ANTHROPIC_API_KEY=" in ran.stdout
    (home / ".env").write_text(ran.stdout)
    assert openfall("config", "check").returncode == 0


@pytest.mark.parametrize(
    "text", ["", "# nothing yet\n", "{}", "---\n", "backends:\nmodels:\n", "redis: redis://127.0.0.1:1\n"]
)
def test_a_configuration_without_a_model_is_not_valid_and_says_what_is_missing(
    openfall: Run, tmp_path: Path, text: str
) -> None:
    (tmp_path / "empty.yaml").write_text(text)
    ran = openfall("config", "check", "--config", "empty.yaml")
    assert ran.returncode == 2
    assert (
        "empty.yaml: it names no backend and no model, so no job can be answered. Add one under models:" in ran.stdout
    )
    ran = openfall("preflight", "--offline", "--config", "empty.yaml")
    assert ran.returncode == 4
    assert "it names no backend and no model" in ran.stdout


@pytest.mark.parametrize(
    "content",
    [
        "models: {}".encode("utf-16"), "models: {}".encode("utf-32"), b"models: \xff", b"models: \x00", b"\x1b[2J: 1",
        b"a: !!binary x", b"[" * 300_000, b"{a: " * 5000, b"- " * 50_000, b"&a [*a]", b"<<: *x", b"? [1]\n: 2", b"- 1",
        b"word", b"%YAML 9.9\n--- 1",
    ],
)  # fmt: skip
def test_a_broken_file_is_reported_with_its_name_and_a_remedy(openfall: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.yaml").write_bytes(content)
    for command in (("config", "check"), ("status",), ("preflight", "--offline")):
        ran = openfall(*command, "--config", "broken.yaml")
        assert ran.returncode in (2, 4)
        assert "broken.yaml" in ran.stdout + ran.stderr
        assert "unexpected error" not in ran.stderr


def test_a_path_without_a_file_and_a_removed_current_directory_are_reported(openfall: Run, tmp_path: Path) -> None:
    ran = openfall("config", "check", "--config", ".")
    assert ran.returncode == 2
    assert ran.stdout.startswith(".: it is a directory. ")
