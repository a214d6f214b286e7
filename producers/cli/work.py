"""`openfall work`: becomes the worker process of one pool."""

from __future__ import annotations

import os
import sys

import click


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    short_help="Run the jobs of one pool.",
)
@click.argument("pool")
@click.pass_context
def work(ctx: click.Context, pool: str) -> None:
    """Run the jobs of one pool.

    Options: --backend NAME, --slots N, --procs N, --config PATH, --burst (stop when the queues are empty), --quiet.
    """
    os.execv(sys.executable, [sys.executable, "-m", "openfall.workers", "work", pool, *ctx.args])
