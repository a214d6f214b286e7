"""`openfall config`: checks and shows the configuration, and prints its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from openfall import config as configuration
from openfall.config import ConfigProblem
from openfall.producers.cli.options import common_options, config_path
from openfall.producers.cli.terminal import echo, show_json, wants_json


@click.group()
def config() -> None:
    """Check and show the configuration; print its JSON Schema."""


@config.command(short_help="Check a configuration.")
@common_options
def check() -> int:
    """Print every error of a configuration, each with its line and remedy. Exits with 2 if there is one, or no model.

    Of a valid configuration: where the value of each of its variables comes from, and warnings.
    """
    try:
        loaded = configuration.load(config_path())
        loaded.require_models()
    except configuration.ConfigError as error:
        if wants_json():
            show_json({"source": None, "valid": False, "problems": _problems(error.problems)})
        else:
            echo(str(error))
        return 2
    if wants_json():
        warnings = _problems(loaded.warnings)
        show_json({"source": str(loaded.source), "valid": True, "variables": loaded.origins, "warnings": warnings})
        return 0
    echo(f"{loaded.source}: valid", err=True)
    for name, origin in sorted(loaded.origins.items()):
        echo(f"  {name}: {origin}", err=True)
    for warning in loaded.warnings:
        echo(f"Warning: {warning}", err=True)
    return 0


def _problems(problems: Sequence[ConfigProblem]) -> list[dict[str, Any]]:
    return [{**asdict(problem), "file": str(problem.file)} for problem in problems]


@config.command(short_help="Print the configuration in force.")
@common_options
def show() -> None:
    """Print the effective configuration, and where its variables come from. Secrets are masked."""
    loaded = configuration.load(config_path())
    if wants_json():
        in_force = configuration.in_force(loaded)
        show_json({"source": str(loaded.source), "configuration": in_force, "variables": loaded.origins})
        return
    echo(configuration.dump(loaded), nl=False)
    for name, origin in sorted(loaded.origins.items()):
        echo(f"# {name}: {origin}")


@config.command("env-example", short_help="Print a template of the .env file.")
def env_example() -> None:
    """Print a template of the .env file, to be kept beside the configuration.

    openfall config env-example > .env
    """
    echo(configuration.ENV_EXAMPLE.read_text("utf-8"), nl=False)


@config.command()
@click.option("--manifest", is_flag=True, help="Print the schema of the manifest of a sidecar.")
def schema(manifest: bool) -> None:
    """Print the JSON Schema of the file, for editors.

    Keep it beside the file, as openfall.schema.json, and begin the file with

        # yaml-language-server: $schema=./openfall.schema.json
    """
    shape = configuration.manifest_schema() if manifest else configuration.schema()
    echo(json.dumps(shape, indent=2, ensure_ascii=False))
