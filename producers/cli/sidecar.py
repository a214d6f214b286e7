"""`openfall sidecar`: becomes the process of the sidecar."""

from __future__ import annotations

from pathlib import Path

import click

from openfall.producers.cli.become import become
from openfall.producers.cli.options import log_format_option


@click.command(short_help="Start, stop and switch the model servers of one machine.")
@click.option("--manifest", type=click.Path(path_type=Path), help="Default: the nearest manifest.yaml.")
@log_format_option
@click.option("--check", is_flag=True, help="Check the manifest, and start nothing.")
@click.option("--quiet", is_flag=True, help="Log warnings and errors only.")
def sidecar(manifest: Path | None, log_format: str | None, check: bool, quiet: bool) -> None:
    """Start, stop and switch the llama-servers of one machine, by the profiles of a manifest.

    It needs neither Redis nor a fleet: any program with a base URL can use it.
    """
    arguments = ["--manifest", str(manifest)] if manifest else []
    arguments += ["--log-format", log_format] if log_format else []
    arguments += ["--check"] * check + ["--quiet"] * quiet
    become("openfall.workers.sidecar", *arguments)
