"""docs/configuration.md has every key, with the description of the schema."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from deploy import config_tables
from openfall import config
from openfall.router_core.vocabulary import Remedy
from tests.config.config_texts import check

FILE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
PAGE = FILE.read_text("utf-8")


@pytest.mark.parametrize("page", config_tables.PAGES, ids=lambda page: page.stem)
def test_every_table_is_up_to_date(page: Path) -> None:
    """If it is not: `python deploy/config_tables.py`."""
    text = page.read_text("utf-8")
    assert config_tables.generate(text) == text


def test_every_section_has_a_table() -> None:
    sections = set(config.schema()["properties"]) - {"data", "default"}  # in one table with `redis`
    assert set(re.findall(r"<!-- keys of (\w+) -->", PAGE)) == sections
    assert "<!-- defaults of urgency -->" in PAGE


def test_every_remedy_is_explained() -> None:
    assert all(f"| `{remedy}` |" in PAGE for remedy in Remedy)


@pytest.mark.parametrize("snippet", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_every_example_can_be_used(tmp_path: Path, snippet: str) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text(snippet, "utf-8")
    assert check(file, environ={}, cwd=tmp_path) == ()
    assert yaml.safe_load(snippet)
