"""What the page can do, the command line can do, and the other way round, by one function."""

from __future__ import annotations

import ast
import shlex
from itertools import takewhile
from pathlib import Path

import click
import pytest

from openfall.producers.cli.commands import openfall
from openfall.producers.page.endpoints import ENDPOINTS
from openfall.producers.page.page_actions import ACTIONS

ROOM = Path(__file__).parents[2] / "producers"

BY_ACTION = {
    " ".join(takewhile(lambda word: word[0] not in "{-", action.command.split())): name
    for name, action in ACTIONS.items()
}
"""The command that each action names beside its question."""

ON_THE_PAGE = {
    "job replay": "POST /page/jobs", "job drop": "POST /page/jobs", "keys new": "POST /keys", "ask": "POST /try",
    "enqueue": "POST /try", "resolve": "POST /try/route", "job list": "GET /job", "job show": "GET /job/{id}",
    "job why": "GET /job/{id}", "job wait": "GET /job/{id}", "batch list": "GET /batch", "batch status": "GET /batch",
    "keys list": "GET /keys", "keys refused": "GET /keys", "stats": "GET /statistics", "usage": "GET /cost",
    "spend": "GET /cost",
    "metrics": "GET /metrics", "status": "GET /", "runbook": "GET /runbook", "top": "GET /", "queues": "GET /",
    "workers": "GET /", "models": "GET /model", "cards": "GET /", "breakers": "GET /breaker", "local-only": "GET /",
    "budgets": "GET /", "held list": "GET /", "held show": "GET /job/{id}", "held log": "GET /", "audit": "GET /audit",
    "outbox": "GET /outbox", "preflight": "GET /preflight", "config check": "GET /preflight",
    "config show": "GET /config", "inbox": "GET /inbox",
}  # fmt: skip
"""Each other command, and the address of the page that does the same."""

HERE_ONLY = {
    "init": "it writes files of this machine", "up": "it starts processes", "work": "it starts a process",
    "serve": "it starts a process", "sidecar": "it starts processes",
    "config schema": "it is for editors", "config env-example": "it is for the file of a machine",
    "batch run": "its lines and its answers are files of this machine; its progress is on the page",
    "embed": "it is for programs: no person reads vectors",
    "held export": "it writes prompts, which the page does not show",
}  # fmt: skip
"""Each command that has nothing like it on the page, and why."""


def commands(group: click.Group, prefix: str = "") -> dict[str, click.Command]:
    """Every command by its whole name; a group that does something by itself is one too."""
    known: dict[str, click.Command] = {}
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            known |= commands(command, f"{prefix}{name} ")
        if not isinstance(command, click.Group) or command.invoke_without_command:
            known[f"{prefix}{name}"] = command
    return known


def test_every_command_is_on_the_page_or_says_why_not() -> None:
    aliases = {"keys", "local-only on", "local-only off"}  # a group that lists; a command with a word behind it
    assert set(commands(openfall)) | aliases == {*BY_ACTION, *ON_THE_PAGE, *HERE_ONLY} | aliases
    assert not (BY_ACTION.keys() | ON_THE_PAGE.keys()) & HERE_ONLY.keys()


@pytest.mark.parametrize("name", ACTIONS)
def test_the_command_beside_an_action_can_be_typed(name: str) -> None:
    program, *words = shlex.split(ACTIONS[name].command_line("it's a name; rm -rf"))
    assert program == "openfall"
    command, context = typed(words)
    assert command.params
    values = [each for value in context.params.values() for each in (value if isinstance(value, tuple) else [value])]
    assert ("it's a name; rm -rf" in values) is ("{subject}" in ACTIONS[name].command)


def test_every_address_that_stands_for_a_command_exists() -> None:
    addresses = {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS} | {"GET /metrics"}
    assert set(ON_THE_PAGE.values()) <= addresses


def typed(words: list[str]) -> tuple[click.Command, click.Context]:
    """The command that a line names, with its arguments. It is not run."""
    command: click.Command = openfall
    while isinstance(command, click.Group):
        below = command.get_command(click.Context(command), words[0])
        assert below is not None, words
        command, words = below, words[1:]
    return command, command.make_context("openfall", list(words))


def imported(folder: Path) -> set[tuple[str, str]]:
    """(module, function) of what the modules of a room take from the operations."""
    names = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("openfall.producers.operations."):
                names |= {(str(node.module).rpartition(".")[2], alias.name) for alias in node.names}
    return names


def operations() -> list[tuple[str, str]]:
    """The functions that act: those that write into the audit log, or order something that does."""
    return [
        (file.stem, node.name)
        for file in sorted((ROOM / "operations").glob("*.py"))
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.AsyncFunctionDef) and {".note(", "write_entry("} & _calls(file, node)
    ]


def _calls(file: Path, node: ast.AST) -> set[str]:
    text = ast.get_source_segment(file.read_text(), node) or ""
    return {call for call in (".note(", "write_entry(") if call in text}


@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation[1])
def test_an_operation_is_called_by_the_command_line_and_by_the_page(operation: tuple[str, str]) -> None:
    through = {("job_selection", "act_on_jobs")} if operation == ("job_cancel", "cancel_jobs") else {operation}
    for side in ("cli", "page"):
        assert through & imported(ROOM / side), f"{operation[1]} is not called by {side}"
