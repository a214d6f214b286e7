"""`openfall held`: lists held jobs; replays, drops and exports them; prints the log of falls."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import IO, Any

import click

from openfall.producers.amount_text import plural
from openfall.producers.cli.confirmation import confirm
from openfall.producers.cli.held_selection import (
    any_selection,
    filter_options,
    held_progress,
    named_selection,
    selection_options,
)
from openfall.producers.cli.held_text import describe_fall
from openfall.producers.cli.job import describe_attempt, id_argument, record_json
from openfall.producers.cli.options import common_options, config_option, with_client, with_operator
from openfall.producers.cli.tables import show_table
from openfall.producers.cli.terminal import echo, print_line, raw_option, show_json, show_outcome, wants_json
from openfall.producers.cli.time_options import DURATION
from openfall.producers.client import AsyncOpenfall
from openfall.producers.duration_text import format_age, format_time
from openfall.producers.held_release_text import configured_models, describe_release, fetch_blocks
from openfall.producers.job_request import parse_duration
from openfall.producers.local_batches.batch_file_lines import json_line, request_line
from openfall.producers.operations.held_actions import (
    HeldSelection,
    apply_to_each,
    describe_returned,
    drop_jobs,
    replay_jobs,
    selected_jobs,
)
from openfall.producers.operations.operator import Operator
from openfall.producers.shell_command import shell_command
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.jobs.answer_reason import describe_reply
from openfall.router_core.state.held_jobs import HeldJob, fetch_held
from openfall.router_core.state.incidents import read_falls
from openfall.router_core.state.job_records import JobRecord
from openfall.router_core.state.job_search import find_held_job

MAX_ROWS = 1000
"""Rows of a table. `--json` has them all."""
COLUMNS = ("job", "for", "until", "reason", "role/urgency", "waits for", "why")


@click.group()
def held() -> None:
    """List held jobs; replay, drop or export them. No model could serve a held job; it is not lost."""


@held.command("list", short_help="List held jobs.")
@filter_options
@common_options
def list_held(**options: Any) -> None:
    """List held jobs, the longest held first: why each is held, its deadline, which models release it."""
    jobs, now, catalog = with_client(lambda llm: _list(llm, any_selection(options)))
    if wants_json():
        show_json([asdict(job) for job in jobs])
        return
    if not jobs:
        print_line("no held job matches" if any(options.values()) else "no job is held")
        return
    show_table(COLUMNS, held_rows(jobs[:MAX_ROWS], now, catalog))
    if len(jobs) > MAX_ROWS:
        print_line(f"the first {MAX_ROWS:,} of {len(jobs):,}: --json has all of them")


def held_rows(jobs: Iterable[HeldJob], now: float, catalog: Catalog) -> Iterator[tuple[str, ...]]:
    """A row of `COLUMNS` for each held job."""
    for job in jobs:
        yield (
            job.id,
            format_age(max(0.0, now - job.held_at)),
            f"in {format_age(max(0.0, job.deadline - now))}",
            job.reason,
            f"{job.role or '-'}/{job.urgency}",
            ", ".join(configured_models(job.release_models, catalog)) or "an operator",
            job.why,
        )


async def _list(llm: AsyncOpenfall, selection: HeldSelection) -> tuple[list[HeldJob], float, Catalog]:
    return (
        [job async for job in selected_jobs(llm, selection, print_line)],
        await llm.store.server_time(),
        llm.config.catalog,
    )


@held.command(short_help="Show one held job.")
@id_argument
@raw_option
@common_options
def show(job_id: str) -> None:
    """Show one held job: the reason, its attempts, the interim reply, what releases it."""
    record, job, now, release = with_client(lambda llm: _fetch(llm, job_id))
    if job is None:
        why = shell_command("openfall job why", record.id)
        raise click.UsageError(f"{record.id} is not held, it is {record.state}: {why}")
    if wants_json():
        show_json({**record_json(record), "released": release})
    else:
        echo("\n".join([*_describe(record, job, now), f"release    {release}"]))


async def _fetch(llm: AsyncOpenfall, job_id: str) -> tuple[JobRecord, HeldJob | None, float, str]:
    """The record of a job, the held job, the time, and what releases it."""
    job_id = await find_held_job(llm.store.connection, job_id)
    record = await llm.record(job_id)
    job, now = next(iter(await fetch_held(llm.store.connection, [job_id])), None), await llm.store.server_time()
    if job is None:
        return record, None, now, ""
    catalog = llm.config.catalog
    blocks = await fetch_blocks(llm.store.connection, catalog)
    return record, job, now, describe_release(job, now, catalog, blocks)


def _describe(record: JobRecord, job: HeldJob, now: float) -> list[str]:
    lines = [
        f"{job.id}  held for {format_age(max(0.0, now - job.held_at))}: {job.reason}",
        f"why        {job.why}",
        f"submitted  {format_time(record.accepted_at)} by {record.producer}, {job.role or '-'}/{job.urgency}",
    ]
    lines += [f"tried      {describe_attempt(attempt)}" for attempt in record.attempts] or ["tried      no call ended"]
    if record.interim_reply is None:
        lines.append("reply      none")
    else:
        lines.append(f"reply      {describe_reply(record.interim_reply)}")
        lines += [f"           {line}" for line in record.interim_reply.text.splitlines()]
    return lines


@held.command(short_help="Return held jobs to their queues.")
@selection_options
@click.option("--ready", is_flag=True, help="Only jobs with a model that accepts calls now.")
@common_options
def replay(**options: Any) -> None:
    """Return held jobs to their queues. Crashes and attempts count from zero.

    The fleet releases jobs of an outage by itself. Jobs with a fault of their own need this command.
    """
    selection = named_selection(options)
    states = with_operator(lambda operator: _replay(operator, selection))
    if wants_json():
        show_json([{"id": id_, "state": state} for id_, state in states.items()])
    elif selection.ids:
        for id_, state in states.items():
            echo(f"{id_} is {state}")
    else:
        echo(describe_returned(sum(state == "queued" for state in states.values())))


async def _replay(operator: Operator, selection: HeldSelection) -> dict[str, str]:
    with await held_progress(operator.llm, selection, "returned to their queues") as progress:
        return await replay_jobs(operator, selection, progress.update, print_line)


@held.command(short_help="End held jobs without an answer.")
@selection_options
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@common_options
def drop(yes: bool, **options: Any) -> None:
    """End held jobs without an answer, as cancelled. This cannot be undone."""
    selection = named_selection(options)
    count = 0 if yes else len(with_client(lambda llm: _list(llm, selection))[0])
    if count:
        confirm("drop", f"{plural(count, 'job')} for good")
    dropped = with_operator(lambda operator: _drop(operator, selection)) if yes or count else []
    show_outcome(f"{plural(len(dropped), 'job')} dropped", {"dropped": dropped})


async def _drop(operator: Operator, selection: HeldSelection) -> list[str]:
    with await held_progress(operator.llm, selection, "dropped") as progress:
        return await drop_jobs(operator, selection, progress.update, print_line)


@held.command(short_help="Write held jobs as a batch file.")
@selection_options
@click.option("-o", "--output", metavar="FILE", default="-", help="Output file. Default: standard output.")
@config_option
def export(output: str, **options: Any) -> None:
    """Write held jobs as a batch file (OpenAI Batch JSONL), PROMPTS INCLUDED.

    The id of a job is its custom_id. The jobs stay held: drop them when they are answered elsewhere. Without ids or
    filters all held jobs are written.
    """
    selection = any_selection(options)
    try:
        with _open_output(output) as file:
            count, foreign = with_client(lambda llm: _export(llm, selection, file))
    except OSError as error:
        if output == "-":
            raise
        raise click.UsageError(f"{output} cannot be written: {error.strerror}") from None
    print_line(f"{plural(count, 'job')} written, with their prompts{'' if output == '-' else ': the file is private'}")
    if foreign:
        print_line(f"{plural(foreign, 'job')} not in the OpenAI dialect: `openfall batch run` rejects those lines")


def _open_output(output: str) -> AbstractContextManager[IO[bytes]]:
    """The file, which only its owner can read; standard output for `-`."""
    if output == "-":
        return nullcontext(sys.stdout.buffer)
    return open(output, "wb", opener=lambda path, flags: os.open(path, flags, 0o600))


async def _export(llm: AsyncOpenfall, selection: HeldSelection, output: IO[bytes]) -> tuple[int, int]:
    foreign = 0

    async def write(held: HeldJob) -> bool:
        nonlocal foreign
        job = (await llm.record(held.id)).job
        if job is None:
            return False  # it has ended since
        foreign += job.dialect != "openai"
        output.write(json_line(request_line(job)))
        return True

    with await held_progress(llm, selection, "written") as progress:
        results = await apply_to_each(selected_jobs(llm, selection, print_line), write, progress.update)
    return sum(ok for _, ok in results), foreign


@held.command(short_help="Print the last falls.")
@click.option("--since", type=DURATION, help="Only falls within this time: 30m, 2h, 1d.")
@common_options
def log(since: str | None) -> None:
    """Print the last falls: job, reason, attempts, reply. No prompts, no answers."""
    with_client(lambda llm: _log(llm, since))


async def _log(llm: AsyncOpenfall, since: str | None) -> None:
    start = None if since is None else await llm.store.server_time() - parse_duration(since, "--since")
    async for fall in read_falls(llm.store.connection, start):
        if wants_json():
            show_json({name: value for name, value in fall.items() if name not in ("counts", "notify")})
        else:
            echo(describe_fall(fall))
