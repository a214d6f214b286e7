"""The question before a command that cannot be undone. A script has to write `--yes`."""

from __future__ import annotations

import sys

import click


def confirm(verb: str, what: str) -> None:
    """Ask before something that cannot be undone. Raises `UsageError` without a terminal to ask at."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"this would {verb} {what}: add --yes")
    click.confirm(f"{verb.capitalize()} {what}?", abort=True, err=True)
