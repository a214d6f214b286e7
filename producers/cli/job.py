"""`openfall job`: lists and changes jobs; shows, explains and awaits one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from openfall.producers.cli import timeline
from openfall.producers.cli.answer_text import show_answer
from openfall.producers.cli.exit_codes import INTERRUPTED
from openfall.producers.cli.job_changes import cancel, drop, replay
from openfall.producers.cli.job_list import list_jobs
from openfall.producers.cli.options import check_id, common_options, with_client
from openfall.producers.cli.render import WaitIndicator
from openfall.producers.cli.submission import describe_continuing
from openfall.producers.cli.terminal import echo, print_line, raw_option, show_json, wants_json
from openfall.producers.cli.time_options import DURATION
from openfall.producers.client import AsyncOpenfall
from openfall.producers.crash_text import describe_crashes
from openfall.producers.duration_text import format_time
from openfall.producers.job_story import fetch_story
from openfall.router_core.jobs.answer_reason import describe_reply
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.job_records import JobRecord
from openfall.router_core.state.job_search import find_job


@click.group()
def job() -> None:
    """List, change, show, explain or await jobs. ID is a job id or its first letters, as a receipt shows them."""


for command in (list_jobs, cancel, replay, drop):
    job.add_command(command)
id_argument = click.argument("job_id", metavar="ID", callback=check_id)


@job.command()
@id_argument
@raw_option
@common_options
def show(job_id: str) -> None:
    """Show the state of a job and its attempts."""
    record, _, block_reason = with_client(lambda llm: _fetch(llm, job_id))
    if wants_json():
        show_json(record_json(record))
    else:
        echo("\n".join(_describe(record, block_reason)))


def record_json(record: JobRecord) -> dict[str, Any]:
    """A record as `--json` prints it: without the request body."""
    values = asdict(record)
    values["job"] = None if record.job is None else record.job.model_dump(mode="json", exclude={"body"})
    values["result"] = None if record.result is None else record.result.as_json()
    values["reply"] = None if record.interim_reply is None else record.interim_reply.as_json()
    return values


def _describe(record: JobRecord, block_reason: str) -> list[str]:
    lines = [
        f"{record.id}  {record.state}" + (f": {record.result.status}" if record.result else ""),
        f"queue       {record.queue}",
        f"submitted   {format_time(record.accepted_at)} by {record.producer}",
        f"deadline    {format_time(record.deadline)}",
        f"deliveries  {record.deliveries}" + (f"; {describe_crashes(record.crashes)}" if record.crashes else ""),
    ]
    if record.result and record.result.error:
        lines.append(f"why         {record.result.error}: {record.result.detail}")
    if record.state == "started":
        lines.append(f"at          {record.backend}, by {record.worker}")
    if record.falls:
        lines.append(
            f"falls       {record.falls}"
            + (f"; default fallback {record.default_fallback}" if record.default_fallback else "")
        )
    if record.held_for:
        lines.append(f"held        {record.held_for}: {record.hold_detail}")
    if record.interim_reply:
        lines.append(f"interim     {describe_reply(record.interim_reply)}")
    if block_reason:
        lines.append(f"{'continues' if record.held_for else 'waits':<9}   {block_reason}")
    return lines + [f"attempt     {describe_attempt(attempt)}" for attempt in record.attempts]


def describe_attempt(attempt: Attempt) -> str:
    """One call and its outcome."""
    outcome = f"{attempt.error}: {attempt.detail}" if attempt.error else "answered"
    return f"{attempt.model}@{attempt.backend} {attempt.ended_at - attempt.started_at:.1f}s {outcome}"


@job.command()
@id_argument
@raw_option
@common_options
def why(job_id: str) -> None:
    """Explain a job: the models considered, then every event in order."""
    story = with_client(lambda llm: _fetch(llm, job_id))
    if wants_json():
        show_json(timeline.as_json(*story))
    else:
        echo("\n".join(timeline.timeline_lines(*story)))


async def _fetch(llm: AsyncOpenfall, job_id: str) -> tuple[JobRecord, list[dict[str, Any]], str]:
    """The job, its events, and what it waits for: what blocks its queue, or what releases it."""
    return await fetch_story(llm, await find_job(llm.store.connection, job_id))


@job.command()
@id_argument
@click.option("--wait", type=DURATION, help="Maximum wait. Exits with 7 if it is over. Default: until the job ends.")
@click.option("--accept-interim", is_flag=True, help="Return the interim reply of a held job.")
@raw_option
@common_options
def wait(job_id: str, wait: str | None, accept_interim: bool) -> None:
    """Wait for a job and print its answer. For a held job, wait for its final answer."""

    async def action(llm: AsyncOpenfall) -> Result:
        whole_id = await find_job(llm.store.connection, job_id)
        async with WaitIndicator(f"waiting for job {whole_id}"):
            return await llm.wait(whole_id, wait, accept_interim=accept_interim)

    try:
        result = with_client(action)
    except KeyboardInterrupt:
        print_line(f"\n{describe_continuing(job_id)}")
        raise click.exceptions.Exit(INTERRUPTED) from None
    raise click.exceptions.Exit(show_answer(result))
