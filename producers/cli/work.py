"""`openfall work`: becomes the worker process of one pool."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from openfall.producers.cli.options import config_option


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    short_help="Run the jobs of one pool.",
)
@click.argument("pool")
@config_option
@click.pass_context
def work(ctx: click.Context, pool: str, config_path: Path | None) -> None:
    """Run the jobs of one pool.

    More options: --backend NAME, --slots N, --procs N, --burst (stop when the queues are empty), --quiet,
    --log-format human|json.
    """
    config_args = () if config_path is None else ("--config", str(config_path))
    os.execv(sys.executable, [sys.executable, "-m", "openfall.workers", "work", pool, *config_args, *ctx.args])
