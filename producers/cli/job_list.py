"""`openfall job list`: the jobs that are kept, the newest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import click

from openfall.producers.amount_text import format_usd, plural
from openfall.producers.cli.options import add_options, check_id, common_options, with_client
from openfall.producers.cli.render import short_id
from openfall.producers.cli.tables import show_table
from openfall.producers.cli.terminal import print_line, show_json, wants_json
from openfall.producers.cli.time_options import DURATION
from openfall.producers.client import AsyncOpenfall
from openfall.producers.duration_text import format_age
from openfall.producers.job_filter import read_filter
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.state import recent_jobs
from openfall.router_core.state.job_search import find_job
from openfall.router_core.state.recent_jobs import JobPage, ListedJob

COLUMNS = ("job", "state", "accepted", "role/urgency", "model", "took", "cost", "group", "producer", "why")
NARROW_COLUMNS = 5
"""Columns of a terminal that is too narrow for all."""


filter_options = add_options(
    click.option(
        "--state",
        "states",
        multiple=True,
        metavar="STATE",
        help="Only jobs that are queued, scheduled, started, held or done, or that ended as answered, failed, expired, "
        "cancelled or degraded. May be repeated.",
    ),
    click.option("-r", "--role", help="Only jobs of this role (or of this task, without a role)."),
    click.option("-m", "--model", help="Only jobs in the queue of this model, or that ended there."),
    click.option("-u", "--urgency", help="Only jobs of this urgency."),
    click.option("-g", "--group", metavar="PATTERN", help="Only jobs of this group of the configuration."),
    click.option("--producer", metavar="PATTERN", help="Only jobs of this producer: 'anna@desk', 'bot*'."),
    click.option("--since", type=DURATION, help="Only jobs accepted within this time: 30m, 2h, 1d."),
    click.option("--id", "id_text", metavar="TEXT", help="Only jobs with this text in their id."),
)
"""The filters of `job list`, and of the commands that change several jobs."""


@click.command("list", short_help="List jobs, the newest first.")
@filter_options
@click.option("--before", metavar="ID", callback=check_id, help="Only jobs accepted before this job: the next page.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Show at most N jobs.")
@common_options
def list_jobs(limit: int, before: str | None, **options: Any) -> None:
    """List the jobs that Redis keeps, the newest first: those without a result, and ended ones until they expire."""
    page, now = with_client(lambda llm: _fetch(llm, limit, before, **options))
    if wants_json():
        show_json([asdict(job) for job in page.jobs])
        return
    if not page.jobs:
        print_line("no job matches" if before or any(options.values()) else "Redis keeps no job")
        return
    show_table(COLUMNS, _rows(page.jobs, now), narrow=NARROW_COLUMNS)
    if page.next_cursor is not None:
        last = short_id(page.jobs[-1].id)
        print_line(f"the newest {plural(len(page.jobs), 'job')}: --before {last} shows older ones, --limit shows more")


async def _fetch(llm: AsyncOpenfall, limit: int, before: str | None, **options: Any) -> tuple[JobPage, float]:
    link, now = llm.store.connection, await llm.store.server_time()
    wanted = read_filter(now, **options)
    cursor = None
    if before is not None:
        (job,) = await recent_jobs.fetch_jobs(link, [await find_job(link, before)])
        cursor = recent_jobs.cursor_at(job)
    page = await recent_jobs.list_jobs(link, wanted, limit, before=cursor, max_scripts=None)
    if not page.jobs:
        check_names(llm, options)
    return page, now


def check_names(llm: AsyncOpenfall, options: dict[str, Any]) -> None:
    """Nothing matches: a misspelled name is the likely reason."""
    catalog = llm.config.catalog
    for kind, known in (("role", [*catalog.roles, *catalog.tasks]), ("model", [*catalog.models])):
        if options[kind] is not None and options[kind] not in known:
            raise UnknownName(kind, options[kind], known)


def _rows(jobs: Sequence[ListedJob], now: float) -> Iterator[tuple[object, ...]]:
    for job in jobs:
        yield (
            short_id(job.id),
            job.outcome,
            f"{format_age(max(0.0, now - job.accepted_at))} ago",
            f"{job.role or '-'}/{job.urgency or '-'}",
            job.answered_by or job.model or "-",
            "-" if job.took_seconds is None else format_age(job.took_seconds),
            "-" if job.ended_at is None else format_usd(job.cost_usd),
            job.group or "-",
            job.producer,
            job.why,
        )
