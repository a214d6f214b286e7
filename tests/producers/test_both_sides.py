"""What the page can do, the command line can do, and the other way round, by one function."""

from __future__ import annotations

import ast
from pathlib import Path

import click
import pytest

from openfall.producers.cli.commands import openfall
from openfall.producers.page.endpoints import ENDPOINTS
from openfall.producers.page.page_actions import ACTIONS

ROOM = Path(__file__).parents[2] / "producers"

ON_THE_PAGE = {
    "job cancel": "cancel-job", "job replay": "replay", "job drop": "drop", "batch cancel": "cancel-batch",
    "queues pause": "pause", "queues resume": "resume", "workers quiet": "quiet-worker",
    "workers resume": "resume-worker", "workers stop": "stop-worker", "models load": "load-model",
    "models unload": "unload-model", "models check": "check-model", "models pin": "pin-model",
    "models unpin": "unpin-model", "breakers force-open": "hold-open", "breakers force-closed": "hold-closed",
    "breakers reset": "reset-breaker", "local-only (on)": "local-only-on", "local-only (off)": "local-only-off",
    "budgets raise": "raise-budget", "held replay": "replay", "held replay (--ready)": "replay-ready",
    "held drop": "drop", "keys revoke": "revoke-key", "keys new": "POST /keys", "ask": "POST /try",
    "job list": "GET /job", "job show": "GET /job/{id}", "job why": "GET /job/{id}", "job wait": "GET /job/{id}",
    "batch list": "GET /batch", "batch status": "GET /batch", "keys list": "GET /keys", "stats": "GET /statistics",
    "usage": "GET /statistics", "metrics": "GET /metrics", "status": "GET /", "top": "GET /", "queues": "GET /",
    "workers": "GET /", "models": "GET /", "cards": "GET /", "breakers": "GET /", "local-only": "GET /",
    "spend": "GET /", "budgets": "GET /", "held list": "GET /", "held show": "GET /job/{id}", "held log": "GET /",
    "audit": "GET /",
}  # fmt: skip
"""Each command, and the action or the address of the page that does the same."""

HERE_ONLY = {
    "init": "it writes files of this machine", "up": "it starts processes", "work": "it starts a process",
    "serve": "it starts a process", "sidecar": "it starts processes",
    "preflight": "it examines the machine on which it runs: its file, its variables, its ways to the backends",
    "config check": "it reads a file of this machine", "config show": "it reads a file of this machine",
    "config schema": "it is for editors", "config env-example": "it is for the file of a machine",
    "batch run": "its lines and its answers are files of this machine; a batch of the gateway is on the page",
    "enqueue": "it is for programs: a person asks one question at a time",
    "embed": "it is for programs: no person reads vectors",
    "resolve": "it asks about a request that is not sent; /try sends it, and /job/ID says why this model",
    "held export": "it writes prompts, which the page does not show",
    "inbox": "it shows answers, which the page does not show",
    "outbox": "its remedies are in the configuration; the sentence on top names this command",
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
    known = {name.partition(" (")[0] for name in (*ON_THE_PAGE, *HERE_ONLY)}
    aliases = {"keys"}  # a group that lists
    assert set(commands(openfall)) - aliases == known
    assert not ON_THE_PAGE.keys() & HERE_ONLY


def test_every_action_of_the_page_is_a_command() -> None:
    assert {target for target in ON_THE_PAGE.values() if " " not in target} == set(ACTIONS)


def test_every_address_that_stands_for_a_command_exists() -> None:
    addresses = {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS} | {"GET /metrics"}
    assert {target for target in ON_THE_PAGE.values() if " " in target} <= addresses


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
