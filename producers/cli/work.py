"""`openfall work`: becomes the worker process of one pool."""

from __future__ import annotations

import click

from openfall.producers.cli.become import become
from openfall.producers.cli.options import config_option, process_arguments


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    short_help="Run the jobs of one pool.",
)
@click.argument("pool")
@config_option
@click.pass_context
def work(ctx: click.Context, pool: str) -> None:
    """Run the jobs of one pool.

    More options: --backend NAME, --slots N, --procs N, --burst (stop when the queues are empty), --quiet,
    --log-format human|json.
    """
    become("openfall.workers", "work", pool, *process_arguments(), *ctx.args)
