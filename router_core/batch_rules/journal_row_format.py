"""The journal of a batch: one row for each line that has an end, before it goes into the output or the error file.

A row is `{index of the line} {end} {tokens} {JSON}`, so that the journal can be read again without parsing the JSON.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from openfall.router_core.batch_rules.line_tokens import LineTokens

_ROW = re.compile(rb"(\d{1,9}) ([secx]) (-|\d{1,15},\d{1,15},\d{1,15},\d{1,15}) (\{[^\x00-\x1f]*\})\n")


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
