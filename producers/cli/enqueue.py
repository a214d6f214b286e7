"""`openfall enqueue`: submits jobs without waiting for them."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import click
from pydantic_core import from_json

from openfall.producers.amount_text import plural
from openfall.producers.cli.exit_codes import INTERRUPTED, LINES_FAILED
from openfall.producers.cli.options import common_options, job_options, read_file, submit_options, with_client
from openfall.producers.cli.standard_streams import output_failure
from openfall.producers.cli.submission import Submission
from openfall.producers.cli.terminal import echo, print_line, show_json, wants_json
from openfall.producers.client import AsyncOpenfall
from openfall.producers.job_request import JobRequest, SubmitOptions, prepare
from openfall.producers.local_batches.batch_file_lines import BatchLine, InvalidLine, read_lines
from openfall.producers.submit_chunks import submit_chunks
from openfall.router_core.state.jobs import Receipt


@click.command()
@click.argument("source", metavar="[FILE|-]", default="-")
@job_options
@click.option("--jsonl", is_flag=True, help="FILE has one request per line (implied by a name that ends in .jsonl).")
@common_options
def enqueue(source: str, jsonl: bool, **options: Any) -> None:
    """Submit jobs and print their ids.

    FILE holds one prompt, or with --jsonl one request per line in the format of OpenAI Batch. Without FILE the prompt
    is read from standard input. Ctrl-C cancels no job that is submitted.
    """
    submit, submission = submit_options(options), Submission()
    with submission.explain_interrupt():
        text = _read_source(source)
        if not jsonl and not source.endswith(".jsonl"):
            if _looks_like_jsonl(text):
                raise click.UsageError("this looks like JSONL: add --jsonl")
            job = with_client(lambda llm: submission.submit(llm, text, **submit))
            with _explain_lost_ids(lambda: 1):
                return _show_accepted(job)
    return _enqueue_lines(text, submit)


def _read_source(source: str) -> str:
    """A file, or standard input. A text in place of a file is a mistake of people who know `ask`."""
    if source != "-" and not os.path.exists(source):
        raise click.UsageError(f"there is no file {source!r}. For a prompt as text: echo 'TEXT' | openfall enqueue")
    return read_file(source)


def _looks_like_jsonl(text: str) -> bool:
    """Whether the first line is a request of a batch file: as a prompt it would cost a useless answer."""
    first = text.removeprefix("\ufeff").lstrip().partition("\n")[0]
    try:
        value = from_json(first)
    except ValueError:
        return False
    return isinstance(value, dict) and "custom_id" in value and "body" in value


def _enqueue_lines(text: str, options: SubmitOptions) -> None:
    rows = list(read_lines(io.BytesIO(text.encode())))
    for row in rows:
        if isinstance(row, InvalidLine):
            print_line(str(row))
    counts = _Counts([row for row in rows if not isinstance(row, InvalidLine)])
    try:
        with _explain_lost_ids(lambda: counts.accepted):
            with_client(lambda llm: _submit(llm, counts, options))
    except KeyboardInterrupt:
        print_line("\n" + "\n".join(counts.describe_interrupt()))
        raise click.exceptions.Exit(INTERRUPTED) from None
    if failed := len(rows) - counts.accepted:
        others = "; the others were" if counts.accepted else ""
        print_line(f"{failed} of {plural(len(rows), 'line')} not submitted{others}")
        raise click.exceptions.Exit(LINES_FAILED)


@dataclass(slots=True)
class _Counts:
    """How many of the lines Redis may have (`sent`), has answered for, and has accepted."""

    lines: list[BatchLine]
    sent: int = 0
    answered: int = 0
    accepted: int = 0

    def describe_interrupt(self) -> Iterator[str]:
        """What became of the lines, and what to do about them."""
        if not self.sent:
            yield "nothing was submitted"
            return
        total = plural(len(self.lines), "line")
        yield f"{self.accepted:,} of {total} submitted. Their ids are above, and their jobs continue"
        if unconfirmed := self.lines[self.answered : self.sent]:
            numbers = f"{unconfirmed[0].number:,} to {unconfirmed[-1].number:,}"
            yield f"Redis has not confirmed lines {numbers}. `openfall job list` shows those that were accepted"
        if rest := self.lines[self.sent :]:
            yield f"not submitted: line {rest[0].number:,} and all after it"
        yield "To cancel a job: openfall job cancel ID"


async def _submit(llm: AsyncOpenfall, counts: _Counts, options: SubmitOptions) -> None:
    """Submit the lines, and print the id of each once Redis has its job."""
    overrides = {name: value for name, value in options.items() if value is not None}

    def requests() -> Iterator[JobRequest]:
        for line in counts.lines:
            counts.sent += 1
            yield JobRequest(line.request.prompt, {**line.request.options, **overrides})  # type: ignore[typeddict-item]

    prepare_one = partial(prepare, llm.config, llm.producer)
    async for answers in submit_chunks(llm.store, requests(), prepare_one, llm.retry_for):
        for answer in answers:
            line = counts.lines[counts.answered]
            counts.answered += 1
            if isinstance(answer, Receipt):
                counts.accepted += 1
                _show_accepted(answer, line.custom_id)
            else:
                print_line(f"line {line.number}: {answer}")


@contextmanager
def _explain_lost_ids(count_accepted: Callable[[], int]) -> Iterator[None]:
    """Say what became of the jobs if their ids cannot be printed."""
    try:
        yield
        sys.stdout.flush()
    except OSError:
        failure, count = output_failure(), count_accepted()
        if failure is not None and failure.errno != errno.EPIPE and count:  # `| head` wants no more ids
            goes = "is accepted, and goes" if count == 1 else "are accepted, and go"
            print_line(f"{plural(count, 'job')} {goes} on: `openfall job list` shows the ids")
        raise


def _show_accepted(job: Receipt, custom_id: str | None = None) -> None:
    if not wants_json():
        echo(job.id)
        return
    values = {"id": job.id, "position": job.position, "deadline": job.deadline, "joined": job.joined}
    show_json(values if custom_id is None else {"custom_id": custom_id, **values})
