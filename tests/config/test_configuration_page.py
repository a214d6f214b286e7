"""The page about the configuration has every key, with what the editor is told of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from openfall import config
from openfall.router_core.degrading.policy import Remedy

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
            yield row(key, told, "must be there" if key in wanted else "as below" if section == "urgency" else None)


def row(key: str, told: dict[str, Any], default: str | None = None) -> str:
    shown = f"`{plain(told['default'])}`" if "default" in told else ""
    return f"| `{key}` | {told['description']} | {default or shown} |"


def plain(value: Any) -> str:
    """A value as a file has it."""
    if isinstance(value, list):
        return f"[{', '.join(map(plain, value))}]"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("line", list(rows()))
def test_every_key_is_there_with_its_meaning_and_default(line: str) -> None:
    assert line in PAGE.splitlines()


def test_every_urgency_is_there_with_all_that_it_means() -> None:
    told = config.schema()["properties"]["urgency"]["properties"]
    for word in URGENCIES:
        held = {key: one["default"] for key, one in told[word]["properties"].items()}
        assert " | ".join(("| urgency", *(f"`{key}`" for key in held))) in PAGE
        assert " | ".join((f"| `{word}`", *(f"`{value}`" for value in held.values()))) in PAGE


def test_every_remedy_is_explained() -> None:
    assert all(f"| `{remedy}` |" in PAGE for remedy in Remedy)


@pytest.mark.parametrize("snippet", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_every_example_can_be_used(tmp_path: Path, snippet: str) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text(snippet, "utf-8")
    assert config.check(file, environ={}, cwd=tmp_path) == ()
    assert yaml.safe_load(snippet)
