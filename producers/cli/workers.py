"""`openfall workers`: lists the workers of the fleet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from openfall.config import describe_source
from openfall.producers.cli.options import common_options, listing_group, with_client, with_operator
from openfall.producers.cli.tables import show_table
from openfall.producers.cli.terminal import print_line, show_json, show_outcome, wants_json
from openfall.producers.client import AsyncOpenfall
from openfall.producers.duration_text import format_age
from openfall.producers.operations.worker_orders import EFFECTS, WorkerOrder, order_worker
from openfall.router_core.catalog.catalog_digest import catalog_digest
from openfall.router_core.state.audit_log import read_entries
from openfall.router_core.state.fleet_catalogs import describe_catalogs
from openfall.router_core.state.fleet_status import FleetStatus, WorkerStatus, fetch_status
from openfall.router_core.state.redis_connection import RedisConnection

START_WORKER = "start one with `openfall up` or `openfall work POOL`"
AUDIT_LINES = 500
"""Lines of the audit log that are searched for an order."""
COLUMNS = ("worker", "state", "last beat", "answered", "failed", "host", "pid", "queues", "catalog")


@listing_group
@common_options
def workers() -> None:
    """List the workers. `quiet NAME` keeps one from further jobs, `resume NAME` ends that, `stop NAME` stops it."""

    async def fetch(llm: AsyncOpenfall) -> tuple[FleetStatus, str]:
        status = await fetch_status(llm.store.connection)
        return status, describe_catalogs(
            status.members, catalog_digest(llm.config.catalog), describe_source(llm.config.source)
        )

    status, difference = with_client(fetch)
    if wants_json():
        show_json([asdict(worker) for worker in status.workers])
    elif not status.workers:
        print_line(f"no worker: {START_WORKER}")
    else:
        rows = (
            (
                worker.name,
                worker.condition,
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


@workers.command(short_help="Stop a worker.")
@click.argument("name")
@common_options
def stop(name: str) -> None:
    """Stop a worker: it claims nothing more, and lets its calls end. `openfall up` or systemd may start it again."""
    _order(name, "stop")


@workers.command(short_help="Keep a worker from further jobs.")
@click.argument("name")
@common_options
def quiet(name: str) -> None:
    """Keep a worker from claiming further jobs. Its calls go on, and it stays alive. A restart ends that."""
    _order(name, "quiet")


@workers.command(short_help="Let a worker claim jobs again.")
@click.argument("name")
@common_options
def resume(name: str) -> None:
    """Let a quiet worker claim jobs again."""
    _order(name, "resume")


async def fetch_quiet_by(link: RedisConnection, workers: Sequence[WorkerStatus]) -> dict[str, str]:
    """The operators that keep workers from further jobs, by the names of the workers; empty: its line is not kept."""
    quiet = [worker.name for worker in workers if worker.alive and worker.quiet]
    entries = await read_entries(link, AUDIT_LINES) if quiet else []
    orders = {entry.subject: entry.actor for entry in reversed(entries) if entry.action == "worker.quiet"}
    return {name: orders.get(name, "") for name in quiet}


def _order(name: str, order: WorkerOrder) -> None:
    is_delivered = with_operator(lambda operator: order_worker(operator, name, order))
    text = f"{name} {EFFECTS[order]}" if is_delivered else f"{name} does not listen: it is gone"
    show_outcome(text, {"worker": name, "order": order, "delivered": is_delivered})
