"""`openfall enqueue`: submits jobs without waiting for them."""

from __future__ import annotations

import io
import os
from typing import Any

import click
from pydantic_core import from_json

from openfall.producers.amount_text import plural
from openfall.producers.cli.options import common_options, job_options, read_file, submit_options, with_client
from openfall.producers.cli.terminal import echo, print_line, show_json, wants_json
from openfall.producers.client import AsyncOpenfall
from openfall.producers.job_request import JobRequest, SubmitOptions
from openfall.producers.local_batches.batch_file_lines import BatchLine, InvalidLine, read_lines
from openfall.producers.submit_retries import SubmitError
from openfall.router_core.state.jobs import Receipt


@click.command()
@click.argument("source", metavar="[FILE|-]", default="-")
@job_options
@click.option("--jsonl", is_flag=True, help="FILE has one request per line (implied by a name that ends in .jsonl).")
@common_options
def enqueue(source: str, jsonl: bool, **options: Any) -> None:
    """Submit jobs and print their ids.

    FILE holds one prompt, or with --jsonl one request per line in the format of OpenAI Batch. Without FILE the prompt
    is read from standard input.
    """
    submit = submit_options(options)
    text = _read_source(source)
    if jsonl or source.endswith(".jsonl"):
        code = with_client(lambda llm: _enqueue_lines(llm, text, submit))
        raise click.exceptions.Exit(code)
    if _looks_like_jsonl(text):
        raise click.UsageError("this looks like JSONL: add --jsonl")
    _show_accepted(with_client(lambda llm: llm.submit(text, **submit)))


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


async def _enqueue_lines(llm: AsyncOpenfall, text: str, options: SubmitOptions) -> int:
    rows = list(read_lines(io.BytesIO(text.encode())))
    lines = [line for line in rows if not isinstance(line, InvalidLine)]
    overrides = {name: value for name, value in options.items() if value is not None}
    requests = [JobRequest(line.request.prompt, {**line.request.options, **overrides}) for line in lines]  # type: ignore[typeddict-item]
    answers = await llm.submit_many(requests)
    refused = [line for line in rows if isinstance(line, InvalidLine)]
    return _show_lines(lines, answers, refused)


def _show_lines(lines: list[BatchLine], answers: list[Receipt | SubmitError], invalid: list[InvalidLine]) -> int:
    for row in invalid:
        print_line(str(row))
    total, failed = len(lines) + len(invalid), len(invalid)
    for line, answer in zip(lines, answers, strict=True):
        if isinstance(answer, Receipt):
            _show_accepted(answer, line.custom_id)
        else:
            failed += 1
            print_line(f"line {line.number}: {answer}")
    if failed:
        print_line(
            f"{failed} of {plural(total, 'line')} not submitted" + ("; the others were" if failed < total else "")
        )
    return 5 if failed else 0


def _show_accepted(job: Receipt, custom_id: str | None = None) -> None:
    if not wants_json():
        echo(job.id)
        return
    values = {"id": job.id, "position": job.position, "deadline": job.deadline, "joined": job.joined}
    show_json(values if custom_id is None else {"custom_id": custom_id, **values})
