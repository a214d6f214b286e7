"""`openfall config`: checks and shows the configuration, and prints its JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path

import click

from openfall import config as configuration
from openfall.producers.cli.options import config_option
from openfall.producers.cli.terminal import echo


@click.group()
def config() -> None:
    """Check and show the configuration; print its JSON Schema."""


@config.command(short_help="Check a configuration.")
@config_option
def check(config_path: Path | None) -> int:
    """Print every error of a configuration, each with its line and remedy. Exits with 2 if there is one.

    Of a valid configuration: where the value of each of its variables comes from, and warnings.
    """
    try:
        loaded = configuration.load(config_path)
    except configuration.ConfigError as error:
        echo(str(error))
        return 2
    echo(f"{loaded.source}: valid", err=True)
    for name, origin in sorted(loaded.origins.items()):
        echo(f"  {name}: {origin}", err=True)
    for warning in loaded.warnings:
        echo(f"Warning: {warning}", err=True)
    return 0


@config.command()
@config_option
def show(config_path: Path | None) -> None:
    """Print the effective configuration, and where its variables come from. Secrets are masked."""
    loaded = configuration.load(config_path)
    echo(configuration.dump(loaded), nl=False)
    for name, origin in sorted(loaded.origins.items()):
        echo(f"# {name}: {origin}")


@config.command("env-example")
def env_example() -> None:
    """Print a template of the .env file, to be kept beside the configuration.

    openfall config env-example > .env
    """
    echo(configuration.ENV_EXAMPLE.read_text("utf-8"), nl=False)


@config.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors.

    Keep it beside the file, as openfall.schema.json, and begin the file with

        # yaml-language-server: $schema=./openfall.schema.json
    """
    echo(json.dumps(configuration.schema(), indent=2, ensure_ascii=False))
