"""What a service manager gives: keys as files, and a directory for data."""

from __future__ import annotations

from pathlib import Path

import pytest

from openfall.config import load, load_manifest

FILE = """
backends: {cloud: {protocol: openai, pool: cloud, api_key: "${KEY}"}}
models: {a: {upstream: a, backends: [cloud]}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "openfall.yaml").write_text(FILE)
    (tmp_path / ".env").write_text("KEY=of-the-env-file\n")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "KEY").write_text("of-a-credential\n")
    (tmp_path / "credentials" / "not.a.variable").write_bytes(b"\xff")
    (tmp_path / "credentials" / "BINARY").write_bytes(b"\xff")
    return tmp_path / "openfall.yaml"


def key_and_origin(file: Path, **environ: str) -> tuple[str, str]:
    loaded = load(file, environ=environ, cwd=file.parent)
    return loaded.catalog.backends["cloud"].secrets[0], loaded.origins["KEY"]


def test_a_credential_is_a_variable_that_wins_over_the_env_file_and_not_over_the_environment(file: Path) -> None:
    credentials = str(file.parent / "credentials")
    assert key_and_origin(file) == ("of-the-env-file", ".env:1")
    assert key_and_origin(file, CREDENTIALS_DIRECTORY=credentials) == ("of-a-credential", "$CREDENTIALS_DIRECTORY/KEY")
    key, origin = key_and_origin(file, CREDENTIALS_DIRECTORY=credentials, KEY="of-the-environment")
    assert (key, origin) == ("of-the-environment", "the environment, not .env:1")
    assert key_and_origin(file, CREDENTIALS_DIRECTORY="/nowhere") == ("of-the-env-file", ".env:1")


def test_the_sidecar_keeps_its_data_in_the_state_directory_too(tmp_path: Path) -> None:
    file = tmp_path / "manifest.yaml"
    file.write_text("profiles: {qwen: {model: /srv/qwen.gguf}}\n")
    environ = {"STATE_DIRECTORY": "/var/lib/openfall"}
    assert load_manifest(file, environ=environ).data_dir == Path("/var/lib/openfall")
    file.write_text("data: ./own\nprofiles: {qwen: {model: /srv/qwen.gguf}}\n")
    assert load_manifest(file, environ=environ).data_dir == tmp_path / "own"


def test_data_is_kept_in_the_state_directory_of_a_service_unless_the_file_names_another(file: Path) -> None:
    environ = {"STATE_DIRECTORY": "/var/lib/openfall:/var/lib/other"}
    assert load(file, environ=environ).settings.data_dir == Path("/var/lib/openfall")
    assert load(file, environ={}).settings.data_dir == file.parent / ".openfall"
    file.write_text(f"data: ./own\n{FILE}")
    assert load(file, environ=environ).settings.data_dir == file.parent / "own"
