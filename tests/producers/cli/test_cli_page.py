"""The page of every command has every command."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from openfall.producers.cli.commands import COMMANDS, Commands, openfall

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "cli.md").read_text("utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_what_it_can_do_is_on_the_page(name: str) -> None:
    assert f"openfall {name}" in PAGE
    assert isinstance(openfall, Commands)
    command = openfall.get_command(click.Context(openfall), name)
    assert command is not None
    rows = [row for row in PAGE.splitlines() if row.startswith(f"openfall {name}")]
    for verb in getattr(command, "commands", {}):
        assert any(verb in row for row in rows), verb


def test_the_other_name_of_a_command_means_the_same() -> None:
    ctx = click.Context(openfall)
    assert openfall.get_command(ctx, "doctor") is openfall.get_command(ctx, "preflight")


def test_every_exit_code_is_explained() -> None:
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 130, 141):
        assert f"| {code} |" in PAGE
