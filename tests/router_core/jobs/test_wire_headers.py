"""Which headers of a caller's request are kept with its job."""

from __future__ import annotations

import pytest

from openfall.router_core.jobs.wire_headers import MAX_HEADER_CHARACTERS, pick_wire_headers
from openfall.router_core.vocabulary import Dialect

SENT = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "interleaved-thinking-2025-05-14,context-management-2025-06-27",
    "openai-beta": "assistants=v2",
    "authorization": "Bearer of_secret",
    "x-api-key": "secret",
    "cookie": "a=b",
}


@pytest.mark.parametrize(
    ("dialect", "names"),
    [("anthropic", ["anthropic-beta", "anthropic-version"]), ("openai", ["openai-beta"]), ("ollama", [])],
)
def test_only_the_headers_of_its_dialect_are_kept_and_never_a_key(dialect: Dialect, names: list[str]) -> None:
    assert list(pick_wire_headers(SENT, dialect)) == names


@pytest.mark.parametrize("value", ["", "a\r\nx-api-key: b", "caf\u00e9", "x" * (MAX_HEADER_CHARACTERS + 1)])
def test_a_value_that_no_header_can_have_is_left_out(value: str) -> None:
    assert pick_wire_headers({"anthropic-beta": value}, "anthropic") == {}
