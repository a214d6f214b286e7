"""`openfall config`: is a configuration sound, and what does it come to."""

from __future__ import annotations

from pathlib import Path

import click

import config as configuration
from producers.cli.options import config_option


@click.group()
def config() -> None:
    """Check a configuration; show what it comes to."""


@config.command()
@config_option
def check(config_path: Path | None) -> int:
    """Tell every mistake of a configuration at once, each with its line and remedy. Exits with 2 if there is any."""
    problems = configuration.check(config_path)
    for problem in problems:
        click.echo(str(problem))
    if not problems:
        click.echo(f"{configuration.load(config_path).source}: sound", err=True)
    return 2 if problems else 0


@config.command()
@config_option
def show(config_path: Path | None) -> None:
    """Print the whole configuration as it is in force. Secrets are masked."""
    click.echo(configuration.show(configuration.load(config_path)), nl=False)
