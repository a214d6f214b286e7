"""`openfall audit`: what operators did, by the command line and by the page."""

from __future__ import annotations

from dataclasses import asdict

import click

from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.tables import show
from openfall.producers.cli.time_options import DURATION
from openfall.producers.client import AsyncOpenfall
from openfall.producers.job_request import parse_duration
from openfall.producers.log_tables import audit_table
from openfall.router_core.state.audit_log import AuditEntry, read_entries


@click.command(short_help="List what operators did.")
@click.option("--since", type=DURATION, help="Only actions within this time: 30m, 2h, 1d.")
@click.option(
    "--limit", type=click.IntRange(min=1, max=10_000), default=100, show_default=True, help="Show at most N actions."
)
@common_options
def audit(since: str | None, limit: int) -> None:
    """List what operators did, newest first: who, what, and why. The last 10,000 actions are kept."""
    entries = with_client(lambda llm: _fetch(llm, limit, since))
    show(audit_table(entries), [asdict(entry) for entry in entries])


async def _fetch(llm: AsyncOpenfall, limit: int, since: str | None) -> list[AuditEntry]:
    start = None if since is None else await llm.store.server_time() - parse_duration(since, "--since")
    return await read_entries(llm.store.connection, limit, start)
