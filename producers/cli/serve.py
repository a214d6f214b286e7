"""`openfall serve`: becomes the process of the HTTP gateway."""

from __future__ import annotations

import click

from openfall.producers.cli.become import become
from openfall.producers.cli.options import config_option, log_format_option, process_arguments


@click.command(short_help="Serve the HTTP APIs of OpenAI, Anthropic and others.")
@config_option
@log_format_option
@click.option("--quiet", is_flag=True, help="Log warnings and errors only, not every request.")
def serve(log_format: str | None, quiet: bool) -> None:
    """Serve the HTTP APIs of OpenAI, Anthropic and others: any program that knows a base URL can ask.

    The addresses and what callers may do are in the section `gateway` of the configuration.
    """
    arguments = process_arguments(log_format) + ["--quiet"] * quiet
    become("openfall.producers.gateway", *arguments)
