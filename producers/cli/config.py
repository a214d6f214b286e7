"""`openfall config`: checks and shows the configuration, and prints its JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path

import click

from openfall import config as configuration
from openfall.producers.cli.options import config_option


@click.group()
def config() -> None:
    """Check and show the configuration; print its JSON Schema."""


@config.command(short_help="Check a configuration.")
@config_option
def check(config_path: Path | None) -> int:
    """Print every error of a configuration, each with its line and remedy. Exits with 2 if there is one."""
    problems = configuration.check(config_path)
    for problem in problems:
        click.echo(str(problem))
    if not problems:
        click.echo(f"{configuration.load(config_path).source}: valid", err=True)
    return 2 if problems else 0


@config.command()
@config_option
def show(config_path: Path | None) -> None:
    """Print the effective configuration. Secrets are masked."""
    click.echo(configuration.dump(configuration.load(config_path)), nl=False)


@config.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors.

    Keep it beside the file, as openfall.schema.json, and begin the file with

        # yaml-language-server: $schema=./openfall.schema.json
    """
    click.echo(json.dumps(configuration.schema(), indent=2, ensure_ascii=False))
