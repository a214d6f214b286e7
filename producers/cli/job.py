"""`openfall enqueue` and `openfall job`: put jobs in without waiting, and ask about them later."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openfall.producers.cli.options import (
    config_option,
    job_options,
    json_option,
    opened,
    options_of,
    read_file,
    run,
)
from openfall.producers.cli.render import (
    WaitIndicator,
    clock,
    print_line,
    reply_words,
    show_json,
)

if TYPE_CHECKING:
    from openfall.producers.batch.files import BatchLine, InvalidLine
    from openfall.producers.client import AsyncOpenfall
    from openfall.producers.request import SubmitOptions
    from openfall.producers.submit import SubmitError
    from openfall.router_core.jobs.outcome import Attempt
    from openfall.router_core.jobs.result import Result
    from openfall.router_core.state.jobs import JobRecord, Receipt

SHORTEST_ID = 8


@click.command()
@click.argument("source", metavar="[FILE|-]", default="-")
@job_options
@click.option("--jsonl", is_flag=True, help="FILE has one request a line (so do names that end in .jsonl).")
@config_option
@json_option
def enqueue(source: str, jsonl: bool, config_path: Path | None, as_json: bool, **told: Any) -> None:
    """Put jobs in and print their ids.

    FILE holds one prompt; or, as JSONL, one request a line in the form of OpenAI's Batch files. Without FILE, standard
    input is read.
    """
    options = options_of(told)
    text = read_file(source)
    if jsonl or source.endswith(".jsonl"):
        raise click.exceptions.Exit(run(_enqueue_lines(text, options, config_path, as_json)))
    if _looks_like_jsonl(text):
        raise click.UsageError("this looks like JSONL: add --jsonl")
    run(_enqueue_one(text, options, config_path, as_json))


def _looks_like_jsonl(text: str) -> bool:
    """Whether the first line is a request of a batch file: as a prompt it would cost an answer that nobody wants."""
    from pydantic_core import from_json

    first = text.removeprefix("\ufeff").lstrip().partition("\n")[0]
    try:
        told = from_json(first)
    except ValueError:
        return False
    return isinstance(told, dict) and "custom_id" in told and "body" in told


async def _enqueue_one(text: str, options: SubmitOptions, config_path: Path | None, as_json: bool) -> None:
    async with opened(config_path) as llm:
        _show_accepted(await llm.submit(text, **options), as_json)


async def _enqueue_lines(text: str, options: SubmitOptions, config_path: Path | None, as_json: bool) -> int:
    from openfall.producers.batch.files import InvalidLine, read_lines
    from openfall.producers.request import JobRequest

    read_events = list(read_lines(io.BytesIO(text.encode())))
    lines = [line for line in read_events if not isinstance(line, InvalidLine)]
    given = {name: value for name, value in options.items() if value is not None}
    asks = [JobRequest(line.request.prompt, {**line.request.options, **given}) for line in lines]  # type: ignore[typeddict-item]
    async with opened(config_path) as llm:
        answers = await llm.submit_many(asks)
    refused = [line for line in read_events if isinstance(line, InvalidLine)]
    return _show_lines(lines, answers, refused, as_json)


def _show_lines(
    lines: list[BatchLine], answers: list[Receipt | SubmitError], bad: list[InvalidLine], as_json: bool
) -> int:
    from openfall.router_core.state.jobs import Receipt

    for faulty in bad:
        print_line(str(faulty))
    failed = len(bad)
    for line, answer in zip(lines, answers, strict=True):
        if isinstance(answer, Receipt):
            _show_accepted(answer, as_json, line.custom_id)
        else:
            failed += 1
            print_line(f"line {line.number}: {answer}")
    if failed:
        print_line(f"{failed} of {len(lines) + len(bad)} lines were not put in; the others were")
    return 5 if failed else 0


def _show_accepted(job: Receipt, as_json: bool, custom_id: str | None = None) -> None:
    if not as_json:
        click.echo(job.id)
        return
    told = {"id": job.id, "position": job.position, "deadline": job.deadline, "joined": job.joined}
    show_json(told if custom_id is None else {"custom_id": custom_id, **told})


@click.group()
def job() -> None:
    """Look at one job, wait for it, end it. ID is the whole id that was printed when the job was put in."""


def _whole(_ctx: click.Context, _parameter: click.Parameter, job_id: str) -> str:
    if len(job_id) < SHORTEST_ID:
        raise click.BadParameter(
            f"{job_id!r} is not a whole job id. A receipt shows only its first letters: "
            "use the id that `openfall enqueue` or Ctrl-C printed."
        )
    return job_id


id_argument = click.argument("job_id", metavar="ID", callback=_whole)


@job.command()
@id_argument
@config_option
@json_option
def show(job_id: str, config_path: Path | None, as_json: bool) -> None:
    """Where a job is, and what was tried for it."""
    record, _, blocked_because = run(_story(job_id, config_path))
    if as_json:
        show_json(record_json(record))
        return
    for words in _described(record, blocked_because):
        click.echo(words)


def record_json(record: JobRecord) -> dict[str, Any]:
    """A record as `--json` prints it: without the words of the request."""
    from dataclasses import asdict

    told = asdict(record)
    told["job"] = None if record.job is None else record.job.model_dump(mode="json", exclude={"body"})
    told["result"] = None if record.result is None else record.result.as_json()
    told["reply"] = None if record.interim_reply is None else record.interim_reply.as_json()
    return told


def _described(record: JobRecord, hindrance: str) -> list[str]:
    words = [
        f"{record.id}  {record.state}" + (f": {record.result.status}" if record.result else ""),
        f"queue       {record.queue}",
        f"put in      {clock(record.accepted_at)} by {record.producer}",
        f"deadline    {clock(record.deadline)}",
        f"deliveries  {record.deliveries}" + (f", {record.crashes} crashed" if record.crashes else ""),
    ]
    if record.state == "started":
        words.append(f"at          {record.backend}, by {record.worker}")
    if record.falls:
        words.append(f"falls       {record.falls}" + (f", {record.stand_in} stands in" if record.stand_in else ""))
    if record.held_for:
        words.append(f"held        {record.held_for}: {record.hold_detail}")
    if record.interim_reply:
        words.append(f"meanwhile   {reply_words(record.interim_reply)}")
    if hindrance and record.held_for:
        words.append(f"goes on     {hindrance}")
    return words + [f"attempt     {attempt_words(attempt)}" for attempt in record.attempts]


def attempt_words(attempt: Attempt) -> str:
    """One call, and what came of it."""
    came = f"{attempt.error}: {attempt.detail}" if attempt.error else "answered"
    return f"{attempt.model}@{attempt.backend} {attempt.ended_at - attempt.started_at:.1f}s {came}"


@job.command()
@id_argument
@config_option
@json_option
def why(job_id: str, config_path: Path | None, as_json: bool) -> None:
    """Why a job went where it went: what was considered, then everything that happened to it, in order."""
    from openfall.producers.cli import timeline as story

    found = run(_story(job_id, config_path))
    if as_json:
        show_json(story.as_json(*found))
        return
    for words in story.told(*found):
        click.echo(words)


async def _story(job_id: str, config_path: Path | None) -> tuple[JobRecord, list[dict[str, Any]], str]:
    """The job, what happened to it, and what it waits for: what keeps everybody from its queue, or its release."""
    from openfall.router_core.state.job_events import read_events

    async with opened(config_path) as llm:
        record, events = await llm.record(job_id), await read_events(llm.store.connection, job_id)
        return record, events, await _hindrance(llm, record)


async def _hindrance(llm: AsyncOpenfall, record: JobRecord) -> str:
    from openfall.producers.cli.held_text import release_words
    from openfall.producers.resolve import explain_queue_block
    from openfall.router_core.state.held_jobs import fetch_held

    if record.state in ("queued", "scheduled"):
        return await explain_queue_block(llm.store.connection, llm.config.catalog, record.queue)
    jobs = await fetch_held(llm.store.connection, [record.id]) if record.state == "held" else []
    return release_words(jobs[0], await llm.store.server_time(), llm.config.catalog) if jobs else ""


@job.command()
@id_argument
@click.option("--wait", metavar="DURATION", help="At most this long (exit 7).")
@click.option("--meanwhile", is_flag=True, help="If the job is held, take what is replied until it is answered.")
@config_option
@json_option
def wait(job_id: str, wait: str | None, meanwhile: bool, config_path: Path | None, as_json: bool) -> None:
    """Wait for a job and print its answer. One that is held is waited for until it has been answered."""
    from openfall.producers.cli.answer_text import show_answer

    try:
        result = run(_wait(job_id, wait, meanwhile, config_path))
    except KeyboardInterrupt:
        print_line(f"\njob {job_id} goes on without you")
        raise click.exceptions.Exit(130) from None
    raise click.exceptions.Exit(show_answer(result, as_json=as_json))


async def _wait(job_id: str, limit: str | None, accept_interim: bool, config_path: Path | None) -> Result:
    async with opened(config_path) as llm, WaitIndicator(f"waiting for job {job_id}"):
        return await llm.wait(job_id, limit, accept_interim=accept_interim)


@job.command()
@id_argument
@config_option
@json_option
def cancel(job_id: str, config_path: Path | None, as_json: bool) -> None:
    """End a job that has no answer yet."""
    ended = run(_cancel(job_id, config_path))
    if as_json:
        show_json({"id": job_id, "cancelled": ended})
    else:
        click.echo(f"{job_id} is cancelled" if ended else f"{job_id} had ended before")


async def _cancel(job_id: str, config_path: Path | None) -> bool:
    async with opened(config_path) as llm:
        return await asyncio.shield(llm.cancel(job_id))
