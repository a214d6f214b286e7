"""The environment variables in a value."""

from __future__ import annotations

from pathlib import Path

import pytest

from openfall.config import ENVIRONMENT, ConfigError, load, variables
from tests.config.config_texts import check

TEXT = """
redis: ${REDIS_URL:-embedded}
backends:
  api: {protocol: openai, api_key: "${SCHEME:-Bearer}-${API_KEY:-}", pool: cloud}
models: {gpt: {upstream: gpt-1, backends: [api]}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "openfall.yaml"
    path.write_text(TEXT)
    return path


def test_the_variables_of_a_value_are_named(file: Path) -> None:
    assert variables(file, "backends.api.api_key") == ("SCHEME", "API_KEY")
    assert variables(file, "redis") == ("REDIS_URL",)


def test_a_missing_value_or_one_without_variables_has_none(file: Path) -> None:
    for place in (
        "backends.api.pool",
        "backends.api",
        "backends.api.url",
        "backends.absent.api_key",
        "models.gpt.backends",
    ):
        assert variables(file, place) == ()
    assert variables(file.with_name("gone.yaml"), "redis") == ()


def test_a_set_up_from_the_environment_names_its_own() -> None:
    environ = {"ANTHROPIC_MODEL": "claude-haiku-4-5", "ANTHROPIC_API_KEY": "sk-ant-1"}
    assert variables(ENVIRONMENT, "backends.anthropic.api_key", environ) == ("ANTHROPIC_API_KEY",)


def test_a_fault_is_reported_at_its_variable_and_at_the_file_if_it_is_in_the_default(file: Path) -> None:
    for url in ("localhost:6379", "http://127.0.0.1", "redis:/localhost"):
        with pytest.raises(ConfigError) as caught:
            load(file, environ={"REDIS_URL": url})
        assert str(caught.value).startswith("REDIS_URL (read at ")
        assert url not in str(caught.value)
    file.write_text(TEXT.replace(":-embedded", ":-nonsense"))
    (problem,) = check(file, environ={})
    assert problem.variables == ()
