"""A password in the address of Redis shows no piece of itself: in errors, `config show`, `status`, `preflight`."""

from __future__ import annotations

import pytest

from tests.producers.cli.conftest import Run


@pytest.mark.parametrize(
    "password", ["hun@ter2", "hun:ter2", "hun/ter2", "hun%ter2", "4711/ter2", "hun?ter2", "hun#ter2", "hun%2Fter2"]
)
def test_no_command_shows_a_piece_of_the_password_of_redis(openfall: Run, password: str) -> None:
    url = f"redis://:{password}@127.0.0.1:1"
    for command in (
        ("status",), ("status", "--json"), ("config", "show"), ("config", "check"), ("preflight",),
        ("ask", "x"), ("workers",),
    ):  # fmt: skip
        ran = openfall(*command, url=url)
        for piece in ("hun", "ter2", "4711"):
            assert piece not in ran.stdout + ran.stderr
        assert "unexpected error" not in ran.stderr
