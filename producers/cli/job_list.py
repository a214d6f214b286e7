"""`openfall job list`: the jobs that are kept, the newest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.render import format_age, show_table
from openfall.producers.cli.terminal import print_line, show_json

if TYPE_CHECKING:
    from openfall.producers.client import AsyncOpenfall
    from openfall.router_core.state.job_search import JobFilter, ListedJob

COLUMNS = ("job", "state", "accepted", "role/urgency", "model", "group", "producer", "why")


@click.command("list", short_help="List jobs, the newest first.")
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="STATE",
    help="Only jobs that are queued, scheduled, started, held or done, or that ended as answered, failed, expired, "
    "cancelled or degraded. May be repeated.",
)
@click.option("-r", "--role", help="Only jobs of this role (or of this task, without a role).")
@click.option("-m", "--model", help="Only jobs in the queue of this model, or that ended there.")
@click.option("-g", "--group", metavar="PATTERN", help="Only jobs of this group of the configuration.")
@click.option("--producer", metavar="PATTERN", help="Only jobs of this producer: 'anna@desk', 'bot*'.")
@click.option("--since", metavar="DURATION", help="Only jobs accepted within this time: 30m, 2h, 1d.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Show at most N jobs.")
@common_options
def list_jobs(config_path: Path | None, as_json: bool, limit: int, **options: Any) -> None:
    """List the jobs that Redis keeps, the newest first: those without a result, and ended ones until they expire."""
    jobs, count, now = with_client(config_path, lambda llm: _fetch(llm, limit, **options))
    if as_json:
        show_json([asdict(job) for job in jobs])
        return
    if not jobs:
        print_line("no job matches" if any(options.values()) else "Redis keeps no job")
        return
    show_table(COLUMNS, _rows(jobs, now))
    if count > len(jobs):
        print_line(f"the newest {len(jobs):,} of {count:,} jobs: --limit shows more")


async def _fetch(llm: AsyncOpenfall, limit: int, **options: Any) -> tuple[Sequence[ListedJob], int, float]:
    from openfall.router_core.state import job_search

    now = await llm.store.server_time()
    jobs, count = await job_search.list_jobs(llm.store.connection, _filter(now, **options), limit)
    if not jobs:
        _check_names(llm, options)
    return jobs, count, now


def _filter(now: float, states: tuple[str, ...], since: str | None, **names: Any) -> JobFilter:
    from openfall.producers.request import parse_duration
    from openfall.router_core.catalog.errors import UnknownName
    from openfall.router_core.jobs.result import Status
    from openfall.router_core.state.job_search import JOB_STATES, JobFilter

    known = [*JOB_STATES, *(status.value for status in Status)]
    for state in states:
        if state not in known:
            raise UnknownName("state", state, known)
    accepted_since = None if since is None else now - parse_duration(since)
    return JobFilter(states=frozenset(states), since=accepted_since, **names)


def _check_names(llm: AsyncOpenfall, options: dict[str, Any]) -> None:
    """Nothing matches: a misspelled name is the likely reason."""
    from openfall.router_core.catalog.errors import UnknownName

    catalog = llm.config.catalog
    for kind, known in (("role", [*catalog.roles, *catalog.tasks]), ("model", [*catalog.models])):
        if options[kind] is not None and options[kind] not in known:
            raise UnknownName(kind, options[kind], known)


def _rows(jobs: Sequence[ListedJob], now: float) -> Iterator[tuple[object, ...]]:
    for job in jobs:
        state = job.status or (f"held: {job.held_for}" if job.held_for else job.state)
        yield (
            job.id,
            state,
            f"{format_age(max(0.0, now - job.accepted_at))} ago",
            f"{job.role or '-'}/{job.urgency or '-'}",
            job.model or "-",
            job.group or "-",
            job.producer,
            job.why,
        )
