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
    """Run the jobs of one pool, until Ctrl-C or SIGTERM.

    POOL is a pool of the configuration (gpu, cloud ...), or `degrade`: that worker replies to jobs that no model can
    serve, and sends webhooks and notices. A fleet needs at least one of it.

    \b
    More options:
      --backend NAME             Call only this backend of the pool.
      --slots N                  Maximum concurrent calls. Default: `workers: {slots: ...}`.
      --procs N                  Number of processes.
      --burst                    Stop when the queues are empty.
      --quiet                    Log warnings and errors only.
      --log-format human|json    Format of the log. Default: `logs: {format: ...}`.
    """
    become("openfall.workers", "work", pool, *process_arguments(), *ctx.args)
