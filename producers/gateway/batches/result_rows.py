"""The rows of the files of results, in the form of OpenAI and of Anthropic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.surface import Surface
from openfall.producers.local_batches.batch_file_lines import json_line, output_row
from openfall.router_core.batch_rules.journal_row_format import JournalRow, LineEnd
from openfall.router_core.batch_rules.line_tokens import line_tokens
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.vocabulary import Remedy

_MESSAGES: Mapping[LineEnd, tuple[str, str]] = {
    LineEnd.CANCELLED: ("batch_cancelled", "the batch was cancelled before this line had an answer"),
    LineEnd.EXPIRED: ("batch_expired", "the completion window of the batch ended before this line had an answer"),
}


def end_of(result: Result, *, is_cancelled: bool) -> LineEnd:
    """How the line of a job ended. A canned reply is an error: a reader of the file would take it for an answer."""
    if result.answered and result.degraded_by is not Remedy.CANNED_REPLY:
        return LineEnd.SUCCEEDED
    if result.status is Status.EXPIRED:
        return LineEnd.EXPIRED
    return LineEnd.CANCELLED if result.status is Status.CANCELLED and is_cancelled else LineEnd.ERRORED


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a batch and its job. `body` is empty for a line that cannot be read any more."""

    index: int
    custom_id: str
    job_id: str
    body: Mapping[str, Any]


class RowWriter:
    """Writes the rows of one batch."""

    def __init__(self, form: str) -> None:
        self._is_anthropic = form == "anthropic"

    def answered(self, line: Line, body: Mapping[str, Any]) -> JournalRow:
        if self._is_anthropic:
            return _result_row(line, LineEnd.SUCCEEDED, {"type": "succeeded", "message": body})
        response = {"status_code": 200, "request_id": line.job_id, "body": body}
        return replace(_openai_row(line, LineEnd.SUCCEEDED, response=response), tokens=line_tokens(body))

    def refused(self, line: Line, refusal: Refusal) -> JournalRow:
        """A line that was not accepted, or whose job failed."""
        if self._is_anthropic:
            error = refusal.body(Surface.ANTHROPIC, line.job_id)
            return _result_row(line, LineEnd.ERRORED, {"type": "errored", "error": error})
        body = refusal.body(Surface.OPENAI, line.job_id)
        response = {"status_code": refusal.status(Surface.OPENAI), "request_id": line.job_id, "body": body}
        return _openai_row(line, LineEnd.ERRORED, response=response)

    def unanswered(self, line: Line, end: LineEnd) -> JournalRow:
        """A line that was cancelled or has expired."""
        if self._is_anthropic:
            return _result_row(line, end, {"type": "canceled" if end is LineEnd.CANCELLED else "expired"})
        code, text = _MESSAGES[end]
        return _openai_row(line, end, error={"code": code, "message": text})


def _openai_row(line: Line, end: LineEnd, *, response: Any = None, error: Any = None) -> JournalRow:
    row = output_row(line.job_id, line.custom_id, response=response, error=error)
    return JournalRow(line.index, end, json_line(row)[:-1])


def _result_row(line: Line, end: LineEnd, result: Mapping[str, Any]) -> JournalRow:
    return JournalRow(line.index, end, json_line({"custom_id": line.custom_id, "result": result})[:-1])
