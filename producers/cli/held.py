"""`openfall degrade`: what nothing could serve: look at it, put it back, drop it, take it elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from openfall.producers.cli.held_selection import (
    HeldOptions,
    chosen,
    each,
    filters,
    found,
)
from openfall.producers.cli.held_text import awaited, fall_words, release_words
from openfall.producers.cli.job import attempt_words, id_argument, record_json
from openfall.producers.cli.options import (
    config_option,
    json_option,
    opened,
    run,
)
from openfall.producers.cli.render import (
    age,
    clock,
    counted,
    print_line,
    reply_words,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    from openfall.router_core.catalog.entries import Catalog
    from openfall.router_core.state.held_jobs import HeldJob
    from openfall.router_core.state.jobs import JobRecord

MOST_SHOWN = 1000
"""Rows of a table. `--json` has them all."""
COLUMNS = ("job", "for", "until", "reason", "role/urgency", "waits for", "why")


@click.group()
def degrade() -> None:
    """What nothing could serve: held, not lost."""


@degrade.command("list")
@filters
@config_option
@json_option
def list_held(config_path: Path | None, as_json: bool, **told: Any) -> None:
    """The held jobs, the longest held first: since when and until when at most, why, which models each waits for."""
    jobs, now, catalog = run(_list(config_path, HeldOptions(**told)))
    if as_json:
        show_json([asdict(job) for job in jobs])
        return
    if not jobs:
        print_line("nothing is held" + (" of that kind" if any(told.values()) else ""))
        return
    show_table(COLUMNS, rows_of(jobs[:MOST_SHOWN], now, catalog))
    if len(jobs) > MOST_SHOWN:
        print_line(f"the first {MOST_SHOWN:,} of {len(jobs):,}: --json has all of them")


def rows_of(jobs: Iterable[HeldJob], now: float, catalog: Catalog) -> Iterator[tuple[str, ...]]:
    """A row of `COLUMNS` for each held job."""
    for job in jobs:
        yield (
            job.id,
            age(now - job.held_at),
            f"in {age(max(0.0, job.deadline - now))}",
            job.reason,
            f"{job.role or '-'}/{job.urgency}",
            ", ".join(awaited(job.release_models, catalog)) or "you",
            job.why,
        )


async def _list(config_path: Path | None, which: HeldOptions) -> tuple[list[HeldJob], float, Catalog]:
    async with opened(config_path) as llm:
        return [job async for job in found(llm, which)], await llm.store.server_time(), llm.config.catalog


@degrade.command()
@id_argument
@config_option
@json_option
def show(job_id: str, config_path: Path | None, as_json: bool) -> None:
    """One held job: why, what was tried, what its caller was told meanwhile, what lets it go on."""
    record, job, now, catalog = run(_show(job_id, config_path))
    if job is None:
        raise click.UsageError(f"{job_id} is not held, it is {record.state}: openfall job why {job_id}")
    goes_on = release_words(job, now, catalog)
    if as_json:
        show_json({**record_json(record), "released": goes_on})
        return
    for words in [*_described(record, job, now), f"goes on    {goes_on}"]:
        click.echo(words)


async def _show(job_id: str, config_path: Path | None) -> tuple[JobRecord, HeldJob | None, float, Catalog]:
    from openfall.router_core.state.held_jobs import fetch_held

    async with opened(config_path) as llm:
        record = await llm.record(job_id)
        job = next(iter(await fetch_held(llm.store.connection, [job_id])), None)
        return record, job, await llm.store.server_time(), llm.config.catalog


def _described(record: JobRecord, job: HeldJob, now: float) -> list[str]:
    words = [
        f"{job.id}  held for {age(now - job.held_at)}: {job.reason}",
        f"why        {job.why}",
        f"put in     {clock(record.accepted_at)} by {record.producer}, {job.role or '-'}/{job.urgency}",
    ]
    words += [f"tried      {attempt_words(attempt)}" for attempt in record.attempts] or ["tried      nothing"]
    if record.interim_reply is None:
        words.append("told       nothing: nobody was promised an answer at once")
    else:
        words.append(f"told       {reply_words(record.interim_reply)}")
        words += [f"           {line}" for line in record.interim_reply.text.splitlines()]
    return words


@degrade.command()
@chosen
@click.option("--ready", is_flag=True, help="Only those one of whose models takes calls now.")
@config_option
@json_option
def replay(config_path: Path | None, as_json: bool, all_: bool, **told: Any) -> None:
    """Put held jobs back into the queues they fell from. They begin anew: neither crashes nor attempts count.

    What an outage holds comes back by itself; this is for what waits for you, or for when you know better.
    """
    which = HeldOptions(all=all_, **told)
    which.check()
    states = run(_replay(config_path, which))
    if as_json:
        show_json([{"id": id_, "state": state} for id_, state in states.items()])
    elif which.ids:
        for id_, state in states.items():
            click.echo(f"{id_} is {state}")
    else:
        click.echo(f"{counted(sum(state == 'queued' for state in states.values()))} put back")


async def _replay(config_path: Path | None, which: HeldOptions) -> dict[str, str]:
    from openfall.router_core.state.held_jobs import replay_held

    async with opened(config_path) as llm:
        return dict(await each(llm, which, "put back", lambda job: replay_held(llm.store.connection, job.id)))


@degrade.command()
@chosen
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@json_option
def drop(config_path: Path | None, as_json: bool, all_: bool, yes: bool, **told: Any) -> None:
    """End held jobs without an answer: cancelled, dropped by an operator. There is no way back."""
    which = HeldOptions(all=all_, **told)
    which.check()
    if not yes:
        _asked(len(run(_list(config_path, which))[0]))
    dropped = run(_drop(config_path, which))
    if as_json:
        show_json({"dropped": dropped})
    else:
        click.echo(f"{counted(len(dropped))} dropped")


def _asked(number: int) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError(f"this would drop {counted(number)} for good: say --yes")
    click.confirm(f"Drop {counted(number)} for good?", abort=True, err=True)


async def _drop(config_path: Path | None, which: HeldOptions) -> list[str]:
    from openfall.router_core.state.held_jobs import drop_held

    async with opened(config_path) as llm:
        return [
            id_
            for id_, gone in await each(llm, which, "dropped", lambda job: drop_held(llm.store.connection, job))
            if gone
        ]


@degrade.command()
@chosen
@click.option("-o", "--output", metavar="FILE", default="-", help="Instead of standard output.")
@config_option
def export(config_path: Path | None, output: str, all_: bool, **told: Any) -> None:
    """Write held jobs as requests of a batch file (OpenAI Batch JSONL), their PROMPTS INCLUDED.

    Each job's id is its custom_id. The jobs stay held: drop them when they have been answered elsewhere. Without ids
    or filters all are written.
    """
    which = HeldOptions(all=all_, **told)
    try:
        with _opened(output) as file:
            written, strange = run(_export(config_path, which, file))
    except OSError as error:
        if output == "-":
            raise
        raise click.UsageError(f"{output} cannot be written: {error.strerror}") from None
    print_line(f"{counted(written)} written, with their prompts: keep the file where nobody else reads it")
    if strange:
        print_line(
            f"{counted(strange)} of them in another dialect than OpenAI's: `openfall batch run` refuses those lines"
        )


def _opened(output: str) -> AbstractContextManager[IO[bytes]]:
    """The file, which only its owner can read; standard output for `-`."""
    if output == "-":
        return nullcontext(sys.stdout.buffer)
    return open(output, "wb", opener=lambda path, flags: os.open(path, flags, 0o600))


async def _export(config_path: Path | None, which: HeldOptions, output: IO[bytes]) -> tuple[int, int]:
    from pydantic_core import to_json

    from openfall.producers.batch.files import request_line

    async with opened(config_path) as llm:
        strange = 0

        async def write(held: HeldJob) -> bool:
            nonlocal strange
            job = (await llm.record(held.id)).job
            if job is None:
                return False  # it has ended meanwhile
            strange += job.dialect != "openai"
            output.write(to_json(request_line(job)) + b"\n")
            return True

        return sum(ok for _, ok in await each(llm, which, "written", write)), strange


@degrade.command()
@click.option("--since", metavar="DURATION", help="The falls since: 30m, 2h, 1d.")
@config_option
@json_option
def log(since: str | None, config_path: Path | None, as_json: bool) -> None:
    """The last falls: who fell, why, what was tried, what its caller got. No prompt, no answer."""
    run(_log(since, config_path, as_json))


async def _log(since: str | None, config_path: Path | None, as_json: bool) -> None:
    from openfall.producers.request import parse_duration
    from openfall.router_core.state.incidents import read_falls

    async with opened(config_path) as llm:
        start = None if since is None else await llm.store.server_time() - parse_duration(since)
        async for fall in read_falls(llm.store.connection, start):
            if as_json:
                show_json({name: value for name, value in fall.items() if name not in ("counts", "notify")})
            else:
                click.echo(fall_words(fall))
