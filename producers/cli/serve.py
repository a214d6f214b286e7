"""`openfall serve`: becomes the process of the HTTP gateway."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from openfall.producers.cli.options import config_option, log_format_option


@click.command(short_help="Serve the HTTP APIs of OpenAI, Anthropic and others.")
@config_option
@log_format_option
@click.option("--quiet", is_flag=True, help="Log warnings and errors only, not every request.")
def serve(config_path: Path | None, log_format: str | None, quiet: bool) -> None:
    """Serve the HTTP APIs of OpenAI, Anthropic and others: any program that knows a base URL can ask.

    The addresses and what callers may do are in the section `gateway` of the configuration.
    """
    arguments = ["--config", str(config_path)] if config_path else []
    arguments += ["--log-format", log_format] if log_format else []
    arguments += ["--quiet"] if quiet else []
    os.execv(sys.executable, [sys.executable, "-m", "openfall.producers.gateway", *arguments])
