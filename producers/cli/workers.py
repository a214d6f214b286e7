"""`openfall workers`: lists the workers of the fleet."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.render import format_age, show_table
from openfall.producers.cli.terminal import print_line, show_json

if TYPE_CHECKING:
    from openfall.producers.client import AsyncOpenfall
    from openfall.router_core.state.fleet_status import FleetStatus

START_WORKER = "start one with `openfall up` or `openfall work POOL`"
COLUMNS = ("worker", "state", "last beat", "answered", "failed", "host", "pid", "queues", "catalog")


@click.command(short_help="List the workers.")
@common_options
def workers(config_path: Path | None, as_json: bool) -> None:
    """List the workers: what each does, and how many calls it made."""
    from openfall.router_core.catalog.digest import catalog_digest
    from openfall.router_core.state.fleet_catalogs import describe_catalogs
    from openfall.router_core.state.fleet_status import fetch_status

    async def fetch(llm: AsyncOpenfall) -> tuple[FleetStatus, str]:
        status = await fetch_status(llm.store.connection)
        return status, describe_catalogs(status.workers, catalog_digest(llm.config.catalog))

    status, difference = with_client(config_path, fetch)
    if as_json:
        show_json([asdict(worker) for worker in status.workers])
    elif not status.workers:
        print_line(f"no worker: {START_WORKER}")
    else:
        rows = (
            (
                worker.name,
                (worker.shortage or worker.state) if worker.alive else "gone",
                format_age(worker.heartbeat_age_seconds),
                worker.answered,
                worker.failed,
                worker.host,
                worker.pid,
                len(worker.queues),
                worker.catalog,
            )
            for worker in status.workers
        )
        show_table(COLUMNS, rows)
        if difference:
            print_line(difference)
