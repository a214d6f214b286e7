"""The page of every command has every command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest

from openfall.producers.cli.commands import COMMANDS, Commands
from openfall.producers.cli.commands import openfall as program
from openfall.producers.cli.exit_codes import HEALTH_CODES
from openfall.producers.fleet_problems import ProblemCode
from tests.producers.cli.conftest import Run

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "cli.md").read_text("utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_what_it_can_do_is_on_the_page(name: str) -> None:
    assert f"openfall {name}" in PAGE
    assert isinstance(program, Commands)
    command = program.get_command(click.Context(program), name)
    assert command is not None
    rows = [row for row in PAGE.splitlines() if row.startswith(f"openfall {name}")]
    for verb in getattr(command, "commands", {}):
        assert any(verb in row for row in rows), verb


def test_the_other_name_of_a_command_means_the_same() -> None:
    ctx = click.Context(program)
    assert program.get_command(ctx, "doctor") is program.get_command(ctx, "preflight")


def test_every_exit_code_is_explained() -> None:
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 8, 130, 141):
        assert f"| {code} |" in PAGE
    for code in HEALTH_CODES.values():
        assert re.search(rf"`status` exits .*with {code}\b", PAGE)


def test_every_problem_and_every_field_of_status_for_a_monitor_is_explained(openfall: Run) -> None:
    for code in ProblemCode:
        assert f"`{code}`" in PAGE
    for name in json.loads(openfall("status", "--json").stdout):
        assert f"`{name}`" in PAGE, name
