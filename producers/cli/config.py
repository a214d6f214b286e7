"""`openfall config`: is a configuration sound, and what does it come to."""

from __future__ import annotations

import json
from pathlib import Path

import click

from openfall import config as configuration
from openfall.producers.cli.options import config_option


@click.group()
def config() -> None:
    """Check a configuration; show what it comes to; help an editor with it."""


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
    click.echo(configuration.dump(configuration.load(config_path)), nl=False)


@config.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors.

    Keep it beside the file, as openfall.schema.json, and begin the file with

        # yaml-language-server: $schema=./openfall.schema.json
    """
    click.echo(json.dumps(configuration.schema(), indent=2, ensure_ascii=False))
