"""The journal of a batch: one row for each line that has an end, before it goes into the output or the error file.

A row is `{index of the line} {end} {tokens} {JSON}`, so that the journal can be read again without parsing the JSON.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from openfall.router_core.batch_rules.line_tokens import LineTokens

_ROW = re.compile(rb"(\d{1,9}) ([secx]) (-|\d{1,15},\d{1,15},\d{1,15},\d{1,15}) (\{[^\x00-\x1f]*\})\n")
_JOB_ID = re.compile(r"([0-9a-f]{16})-(\d{1,9})")


class LineEnd(StrEnum):
    """How a line ended. Only those that succeeded go into the output file."""

    SUCCEEDED = "s"
    ERRORED = "e"
    CANCELLED = "c"
    EXPIRED = "x"


@dataclass(frozen=True, slots=True)
class JournalRow:
    """The end of the line with this index. `json` is its row in a file of results. `tokens` None: none are reported."""

    index: int
    end: LineEnd
    json: bytes
    tokens: LineTokens | None = None

    def packed(self) -> bytes:
        tokens = b"-" if self.tokens is None else b"%d,%d,%d,%d" % self.tokens
        return b"%d %s %s %s\n" % (self.index, self.end.encode(), tokens, self.json)


def read_journal_row(row: bytes, lines: int) -> JournalRow | None:
    """None: the row was cut short, or belongs to no line of a batch of `lines` lines."""
    match = _ROW.fullmatch(row)
    if match is None or int(match[1]) >= lines:
        return None
    tokens = None if match[3] == b"-" else LineTokens(*map(int, match[3].split(b",")))
    return JournalRow(int(match[1]), LineEnd(match[2].decode()), match[4], tokens)


def job_id_of(batch_id: str, index: int) -> str:
    """The id of the job of a line. It is always the same, so a line that is submitted twice is one job."""
    return f"{batch_id.rpartition('_')[2]}-{index}"


def index_of(batch_id: str, job_id: str, lines: int) -> int | None:
    """The line of a job. None: the job is not of this batch."""
    match = _JOB_ID.fullmatch(job_id)
    if match is None or match[1] != batch_id.rpartition("_")[2] or int(match[2]) >= lines:
        return None
    return int(match[2])
