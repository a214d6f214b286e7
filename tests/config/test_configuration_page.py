"""The page about the configuration has every key, with what the editor is told of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import config

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text("utf-8")
URGENCIES = ("interactive", "background", "batch")


def rows() -> Iterator[str]:
    """The rows of the page's tables: key, meaning, default."""
    for section, shape in config.schema()["properties"].items():
        if section in ("redis", "data"):
            yield row(section, shape)
        else:
            yield from keys(section, shape)


def keys(section: str, shape: dict[str, Any]) -> Iterator[str]:
    entry = shape.get("additionalProperties") or shape.get("items") or shape
    if section == "urgency":
        entry = entry["properties"]["interactive"]
    wanted = entry.get("required", ())
    for key, told in entry["properties"].items():
        if section == "tasks" and key in config.schema()["properties"]["roles"]["additionalProperties"]["properties"]:
            continue  # the page says once that a task is a role with words
        if "properties" in told:
            yield row(key, told)
            yield from (row(f"{key}: {inner}", one) for inner, one in told["properties"].items())
        else:
            yield row(key, told, "must be there" if key in wanted else None)


def row(key: str, told: dict[str, Any], default: str | None = None) -> str:
    value = told.get("default")
    shown = "" if value is None else f"`{ ({True: 'yes', False: 'no'}[value] if isinstance(value, bool) else value) }`"
    return f"| `{key}` | {told['description']} | {default or shown} |"


@pytest.mark.parametrize("line", [line for line in rows() if not line.startswith(("| `start_within`", "| `give_up`"))])
def test_every_key_is_there_with_its_meaning_and_default(line: str) -> None:
    assert line in PAGE.splitlines()


def test_every_urgency_is_there_with_its_times() -> None:
    told = config.schema()["properties"]["urgency"]["properties"]
    for word in URGENCIES:
        fields = {key: one["default"] for key, one in told[word]["properties"].items()}
        assert f"| `{word}` | `{fields['start_within']}` | `{fields['give_up']}` | `{fields['cloud']}` |" in PAGE


@pytest.mark.parametrize("snippet", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_every_example_can_be_used(tmp_path: Path, snippet: str) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text(snippet, "utf-8")
    assert config.check(file, environ={}, cwd=tmp_path) == ()
    assert yaml.safe_load(snippet)
