"""The files of a batch, in OpenAI's Batch form: the requests that go in, and the journal of what came of each."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json, to_json

from openfall.producers.errors import BadRequest, BatchFileError, CannotWrite
from openfall.producers.prompt import check_messages
from openfall.producers.request import PreparedJob, SubmitOptions
from openfall.router_core.degrading.policy import Remedy
from openfall.router_core.jobs.job import Urgency
from openfall.router_core.jobs.result import Result

URLS = ("/v1/chat/completions", "/chat/completions")
SERVICE_TIERS: Mapping[str, Urgency] = {
    "priority": Urgency.INTERACTIVE,
    "default": Urgency.BACKGROUND,
    "flex": Urgency.BATCH,
}
"""What OpenAI calls an urgency. A line's own `urgency`, an extension of ours beside `body`, wins over it."""

LONGEST_LINE = 64 << 20
"""Bytes of one line. Far more than any request or answer has; a file of one endless line must not fill the memory."""


def check_regular(path: Path, word: str) -> None:
    """`FileTrouble` when `path` is there and is no regular file: a device or a pipe cannot be read again later."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise BatchFileError(f"{path} cannot be used: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise BatchFileError(f"{path}: {word} must be a regular file, for it is read again when the batch goes on")


def rows_in(file: BinaryIO, name: object = "the input") -> Iterator[bytes]:
    """The lines of a file, each with its end. `FileTrouble` for one longer than `LONGEST_LINE`."""
    number = 0
    while row := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(row) > LONGEST_LINE:
            raise BatchFileError(f"{name} line {number} is longer than {LONGEST_LINE >> 20} MiB: is it the right file?")
        yield row


def check_text(path: Path) -> bool:
    """Whether a file has any request. `FileTrouble` when it is not UTF-8 text, or has an endless line."""
    found = False
    with path.open("rb") as file:
        for number, row in enumerate(rows_in(file, path), 1):
            try:
                found = bool(row.decode("utf-8-sig").strip()) or found
            except UnicodeDecodeError:
                raise BatchFileError(f"{path} is not UTF-8 text (line {number})") from None
    return found


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One request of a batch file. `number` counts from 1."""

    number: int
    custom_id: str
    ask: PreparedJob


@dataclass(frozen=True, slots=True)
class InvalidLine:
    """A line that asks for nothing we could do. With a `custom_id` its error is written down as its answer."""

    number: int
    reason: str
    custom_id: str | None = None

    def __str__(self) -> str:
        return f"line {self.number}: {self.reason}"


def read_lines(source: BinaryIO) -> Iterator[BatchLine | InvalidLine]:
    """Every request of a file, in order; blank lines are passed over. The second of two equal `custom_id`s is bad."""
    seen: dict[str, int] = {}
    for number, row in enumerate(rows_in(source), 1):
        if number == 1:
            row = row.removeprefix(codecs.BOM_UTF8)
        if not row.strip():
            continue
        read = parse(number, row)
        if isinstance(read, BatchLine):
            if first := seen.get(read.custom_id):
                read = InvalidLine(number, f"custom_id {read.custom_id!r} stands in line {first} already")
            else:
                seen[read.custom_id] = number
        yield read


def parse(number: int, row: bytes) -> BatchLine | InvalidLine:
    """One line: `{"custom_id", "method": "POST", "url": "/v1/chat/completions", "body", "urgency"?}`."""
    try:
        told = from_json(row)
    except ValueError as error:
        return InvalidLine(number, f"not JSON: {str(error).replace(' at line 1 column ', ' at column ')}")
    if not isinstance(told, dict):
        return InvalidLine(number, "must be an object {custom_id, method, url, body}")
    custom_id = told.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= 512:
        return InvalidLine(number, "custom_id is missing: each line needs one of its own, as text")
    try:
        return BatchLine(number, custom_id, _ask(told))
    except BadRequest as error:
        return InvalidLine(number, str(error), custom_id)


def _ask(told: Mapping[str, Any]) -> PreparedJob:
    if told.get("method", "POST") != "POST":
        raise BadRequest(f"method must be POST, not {told['method']!r}")
    if told.get("url", URLS[0]) not in URLS:
        raise BadRequest(f"url must be {URLS[0]}, not {told['url']!r}: only chat completions are served")
    body = told.get("body")
    if not isinstance(body, dict):
        raise BadRequest("body is missing: it holds `messages`, and `model` for a role or model")
    check_messages(body.get("messages"))
    tier = body.get("service_tier")
    urgency = told.get("urgency") or SERVICE_TIERS.get(tier if isinstance(tier, str) else "")
    kept = {key: value for key, value in body.items() if key not in ("service_tier", "stream", "stream_options")}
    return PreparedJob(kept, SubmitOptions(urgency=urgency))


def answer_row(job_id: str, custom_id: str, result: Result) -> dict[str, Any]:
    """The line of a job that has ended: a response, or an error whose code is its class or how it ended.

    A canned reply is no response: whoever reads the file would take it for an answer.
    """
    row: dict[str, Any] = {"id": f"batch_req_{job_id}", "custom_id": custom_id, "response": None, "error": None}
    if result.answered and result.degraded_by is not Remedy.CANNED_REPLY:
        row["response"] = {"status_code": 200, "request_id": job_id, "body": result.body}
    else:
        row["error"] = {
            "code": str(result.error or result.status),
            "message": result.detail or result.degraded_why or str(result.status),
        }
    return row


def refusal_row(number: int, custom_id: str, reason: str) -> dict[str, Any]:
    """The line of a request that could not be put in."""
    error = {"code": "invalid_request", "message": f"line {number}: {reason}"}
    return {"id": f"batch_req_line_{number}", "custom_id": custom_id, "response": None, "error": error}


@dataclass(slots=True)
class JournalState:
    """What an output file has: the custom ids that were answered; of those that failed the line's id and its code."""

    answered: set[str] = field(default_factory=set)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)

    def note(self, row: Mapping[str, Any]) -> None:
        if row["error"] is None:
            self.answered.add(row["custom_id"])
            self.failed.pop(row["custom_id"], None)
        else:
            self.failed[row["custom_id"]] = row["id"], row["error"]["code"]


class Journal:
    """The output file: read first, then only added to, and never by two at once. A row counts once it is on the disk.

    `past` is what it has. A line that a crash tore is taken away. Raises `FileTrouble`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.past = JournalState()
        check_regular(path, "OUT")
        try:
            with ExitStack() as on_error:
                self._file = on_error.enter_context(path.open("a+b"))
                self._lock()
                self._read()
                on_error.pop_all()
        except OSError as error:
            raise BatchFileError(f"{path} cannot be used: {error.strerror}. Name another file with -o.") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows, all of them on the disk when this returns. `CannotWrite` when there is no room."""
        rows = list(rows)
        if not rows:
            return
        try:
            self._file.write(b"".join(to_json(row) + b"\n" for row in rows))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise CannotWrite(
                f"{self.path} cannot be written: {error.strerror}. What it has is kept, and the jobs go on without it. "
                "Make room, then run the same command again: it goes on where it was."
            ) from error
        for row in rows:
            self.past.note(row)

    def forget_failures(self) -> None:
        """Take the failed lines out, so that they are asked again. The file is replaced in one step."""
        if not self.past.failed:
            return
        self._file.seek(0)
        kept = [row for row in rows_in(self._file, self.path) if from_json(row)["error"] is None]
        draft = self.path.with_name(f"{self.path.name}.new")
        try:
            with draft.open("wb") as file:
                file.writelines(kept)
                file.flush()
                os.fsync(file.fileno())
            old, self._file = self._file, draft.open("a+b")
            self._lock()
            draft.replace(self.path)
            old.close()
            self.past = JournalState(self.past.answered)
        except OSError as error:
            raise BatchFileError(f"{draft} cannot be written: {error.strerror}. Nothing has changed.") from error

    def _read(self) -> None:
        self._file.seek(0)
        whole = 0
        for number, row in enumerate(rows_in(self._file, self.path), 1):
            try:
                told = from_json(row)
                self.past.note(told)
            except (ValueError, KeyError, TypeError):
                if row.endswith(b"\n"):
                    raise BatchFileError(
                        f"{self.path} line {number} is not the result of a batch: name another file with -o"
                    ) from None
                break
            whole += len(row)
            if not row.endswith(b"\n"):
                self._file.write(b"\n")
                whole += 1
        self._file.truncate(whole)
        self._file.seek(0, os.SEEK_END)

    def _lock(self) -> None:
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BatchFileError(
                f"{self.path} is being written by another run of this batch: let that one go on"
            ) from None


def read_journal(path: Path) -> JournalState:
    """What an output file has, without touching it; nothing when there is no such file. Raises `FileTrouble`."""
    past = JournalState()
    check_regular(path, "OUT")
    try:
        with path.open("rb") as file:
            for row in rows_in(file, path):
                if row.endswith(b"\n"):  # else torn, or being written
                    past.note(from_json(row))
    except FileNotFoundError:
        return past
    except OSError as error:
        raise BatchFileError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        raise BatchFileError(f"{path} is not the output of a batch") from None
    return past
