"""The lines of batch files, in OpenAI's Batch form: requests in, results out."""

from __future__ import annotations

import codecs
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import to_json

from openfall.producers.errors import BadRequest, BatchFileError
from openfall.producers.job_request import JobRequest, SubmitOptions
from openfall.producers.prompt import check_messages
from openfall.router_core.batch_rules.batch_line_format import (
    URL_MISMATCH,
    LineProblem,
    ParsedLine,
    other_file,
    parse_batch_line,
)
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.result import Result
from openfall.router_core.printable import escape_json
from openfall.router_core.vocabulary import Remedy, Urgency

URLS = ("/v1/chat/completions",)
EXPORT_URLS = {"openai": URLS[0], "anthropic": "/v1/messages", "ollama": "/api/chat", "responses": "/v1/responses"}
SERVICE_TIERS: Mapping[str, Urgency] = {
    "priority": Urgency.INTERACTIVE,
    "fast": Urgency.INTERACTIVE,
    "ultrafast": Urgency.INTERACTIVE,
    "default": Urgency.BACKGROUND,
    "flex": Urgency.BATCH,
}
"""OpenAI's names for urgencies. `auto`, `scale` and Anthropic's `standard_only` say nothing about it."""

DROPPED = ("service_tier", "stream", "stream_options")
"""Fields of a body that mean nothing in a batch."""
MAX_LINE_BYTES = 64 << 20
"""Far more than any request or answer has. A file of one endless line must not fill the memory."""


def check_regular(path: Path, label: str) -> None:
    """Raises `BatchFileError` when `path` exists and is a device or a pipe: those cannot be read a second time."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise BatchFileError(f"{path} cannot be used: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise BatchFileError(f"{path}: {label} must be a regular file, because a resumed batch reads it again")


def read_rows(file: BinaryIO, name: object = "the input") -> Iterator[bytes]:
    """The lines of a file, each with its line end. Raises `BatchFileError` for one over `MAX_LINE_BYTES`."""
    number = 0
    while row := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(row) > MAX_LINE_BYTES:
            raise BatchFileError(
                f"{name} line {number} is longer than {MAX_LINE_BYTES >> 20} MiB: is it the right file?"
            )
        yield row


def write_all(file: FileIO, data: bytes) -> None:
    """An unbuffered file has no rest that a later close tries to write again."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


INVALID_REQUEST = "invalid_request"
"""The error code of the row of a line that was not submitted. No job ends with it."""


def count_requests(path: Path) -> int:
    """The number of lines that are not blank. Raises `BatchFileError` if one is too long, or if the file is of another
    kind: no line of it is UTF-8 text, or one begins as a file of another kind does."""
    count = foreign = first = 0
    with path.open("rb") as file:
        for number, row in enumerate(read_rows(file, path), 1):
            try:
                count += bool(row.decode("utf-8-sig").strip())
            except UnicodeDecodeError:
                if kind := other_file(row):
                    raise BatchFileError(f"{path} is not UTF-8 text (line {number}): {kind}") from None
                first = first or number
                foreign += 1
    if foreign and not count:
        raise BatchFileError(f"{path} is not UTF-8 text (line {first}): save it as UTF-8")
    return count + foreign


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One request of a batch file. `number` counts from 1."""

    number: int
    custom_id: str
    request: JobRequest


@dataclass(frozen=True, slots=True)
class InvalidLine:
    """A line that is not a valid request. With a `custom_id` of its own its error becomes its result."""

    number: int
    reason: str
    custom_id: str | None = None

    def __str__(self) -> str:
        return f"line {self.number}: {self.reason}"


def read_lines(source: BinaryIO) -> Iterator[BatchLine | InvalidLine]:
    """The requests of a file, in order, without blank lines. The second of two equal `custom_id`s is invalid."""
    numbers: dict[str, int] = {}
    for number, row in enumerate(read_rows(source), 1):
        row = row.removeprefix(codecs.BOM_UTF8)  # of each file that was joined into this one
        if not row.strip():
            continue
        line = parse_line(number, row)
        if isinstance(line, BatchLine) and (first := numbers.setdefault(line.custom_id, number)) != number:
            line = InvalidLine(number, f"custom_id {line.custom_id!r} is used in line {first} already")
        yield line


def parse_line(number: int, row: bytes) -> BatchLine | InvalidLine:
    """One line: `{"custom_id", "method": "POST", "url": "/v1/chat/completions", "body", "urgency"?}`."""
    line = parse_batch_line(row, URLS)
    if isinstance(line, LineProblem):
        only = ": only chat completions are served" if line.code == URL_MISMATCH else ""
        return InvalidLine(number, line.message + only, line.custom_id)
    try:
        return BatchLine(number, line.custom_id, _request_of(line))
    except BadRequest as error:
        return InvalidLine(number, str(error), line.custom_id)


def tier_urgency(body: Mapping[str, Any]) -> Urgency | None:
    """The urgency that the `service_tier` of a body means; None: it says nothing."""
    tier = body.get("service_tier")
    return SERVICE_TIERS.get(tier) if isinstance(tier, str) else None


def _request_of(line: ParsedLine) -> JobRequest:
    """A line's own `urgency`, our extension beside `body`, wins over its tier. Without both it is `batch`, whatever the
    urgency of its role: a file of thousands must not go before people who wait."""
    body = line.body
    check_messages(body.get("messages"))
    urgency = line.fields.get("urgency") or tier_urgency(body) or Urgency.BATCH
    return JobRequest({key: value for key, value in body.items() if key not in DROPPED}, SubmitOptions(urgency=urgency))


def answer_row(job_id: str, custom_id: str, result: Result) -> dict[str, Any]:
    """The row of a job that has ended: a response, or an error whose code is its error class or its status.

    A canned reply is an error here: a reader of the file would take it for an answer.
    """
    if result.answered and result.degraded_by is not Remedy.CANNED_REPLY:
        return output_row(job_id, custom_id, response={"status_code": 200, "request_id": job_id, "body": result.body})
    message = result.detail or result.degraded_why or str(result.status)
    return output_row(job_id, custom_id, error={"code": str(result.error or result.status), "message": message})


def output_row(
    row_id: str, custom_id: str | None, *, response: Mapping[str, Any] | None = None, error: Any = None
) -> dict[str, Any]:
    """A row of an output file in OpenAI's form."""
    return {"id": f"batch_req_{row_id}", "custom_id": custom_id, "response": response, "error": error}


def refusal_row(line: InvalidLine) -> dict[str, Any]:
    """The row of a line that was not submitted. Its id is that of the reason: the same reason has the same row."""
    error = {"code": INVALID_REQUEST, "message": str(line)}
    reason = sha256(str(line).encode()).hexdigest()[:8]
    return output_row(f"line_{line.number}_{reason}", line.custom_id, error=error)


def json_line(row: Mapping[str, Any]) -> bytes:
    """A row as a line of a file. No other character in it ends a line for any reader, or controls a terminal."""
    return escape_json(to_json(row).decode()).encode() + b"\n"


def request_line(job: CompletionJob) -> dict[str, Any]:
    """A held job as a line of a batch file. `model` is the job's target: a role, a task or a model.

    A body of another dialect stays as it is, under the URL that takes it.
    """
    body = {"model": job.role or job.task or job.chain[0], **job.body}
    line = {"custom_id": job.id, "method": "POST", "url": EXPORT_URLS[job.dialect], "body": body}
    return {**line, "urgency": str(job.urgency)}
