"""`openfall config`, as people run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from jsonschema import Draft202012Validator


def openfall(home: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "openfall.producers.cli", "config", *argv]
    return subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=60, check=False, env=_env())


def _env() -> dict[str, str]:
    import os

    tree = str(Path(__file__).parents[3])
    return {**os.environ, "PYTHONPATH": tree, "OPENFALL_CONFIG": ""}


def test_every_mistake_is_told_with_its_line_and_the_code_says_so(tmp_path: Path) -> None:
    (tmp_path / "openfall.yaml").write_text("backends: {}\nroles: {chat: {chian: [x]}}\nmodles: {}\n")
    ran = openfall(tmp_path, "check")
    assert ran.returncode == 2
    assert 'openfall.yaml:2 roles.chat: unknown key "chian". Did you mean "chain"?' in ran.stdout
    assert 'openfall.yaml:3: unknown key "modles". Did you mean "models"?' in ran.stdout


def test_a_sound_configuration_is_called_so_and_shown_with_its_secrets_masked(tmp_path: Path) -> None:
    (tmp_path / "openfall.yaml").write_text(
        "backends: {api: {url: 'https://api.example.com', pool: cloud, key: sk-ant-0123456789abcdefx9Qk}}\n"
        "models: {big: {upstream: big, at: [api]}}\nroles: {chat: {chain: [big]}}\n"
    )
    assert "sound" in openfall(tmp_path, "check").stderr
    shown = openfall(tmp_path, "show")
    assert shown.returncode == 0
    assert "x9Qk" in shown.stdout
    assert "0123456789" not in shown.stdout + shown.stderr


def test_an_editor_can_be_helped(tmp_path: Path) -> None:
    (tmp_path / "openfall.yaml").write_text("this: is not even read\n")
    ran = openfall(tmp_path, "schema")
    assert ran.returncode == 0
    schema = json.loads(ran.stdout)
    Draft202012Validator.check_schema(schema)
    editor = Draft202012Validator(schema)
    assert editor.is_valid({"roles": {"chat": {"chain": ["a"]}}})
    assert not editor.is_valid({"roles": {"chat": {"chian": ["a"]}}})
