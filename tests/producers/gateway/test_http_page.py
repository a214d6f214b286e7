"""docs/http.md names every path, every code and every header of the gateway."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from openfall.producers.gateway.app import ENDPOINTS
from openfall.producers.gateway.error_table import TABLE
from openfall.producers.gateway.routes import Endpoint

PAGE = (Path(__file__).parents[3] / "docs" / "http.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", sorted({row.code for row in TABLE.values()}))
def test_the_page_has_every_code_of_an_error_at_its_status(code: str) -> None:
    (row,) = {row for row in TABLE.values() if row.code == code}
    (line,) = (line for line in PAGE.splitlines() if re.match(rf"\| [\d, ]*{row.status}[\d, ]* \|", line))
    assert f"`{code}`" in line


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_the_page_has_every_path(endpoint: Endpoint) -> None:
    words = re.findall(r"[a-z_]+(?:\.json)?", re.sub(r"\{[^}]*\}", "", endpoint.path))
    assert (words[-1] if words else f"`{endpoint.path}`") in PAGE
