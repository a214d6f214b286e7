"""What the server wrote down of an outage: the story of every job, every inbox entry, every fall.

Nothing of openfall is imported here: keys and shapes are read as they stand in the append-only file.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.torture_checker.aof import Command
from benchmarks.torture_checker.aof import written as every_write

RESULT, EVENTS, INBOX, FALLS, HISTORY = b"of:result:", b"of:events:", b"of:inbox:", b"of:falls", b"of:breaker-history"

_WIDTHS = {b"NOMKSTREAM": 1, b"MAXLEN": 2, b"MINID": 2, b"LIMIT": 2}
"""The options of an XADD with their arguments; a `~` or `=` comes on top."""

Event = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One entry of an inbox. `at` in epoch milliseconds."""

    job: str
    kind: str
    at: float


@dataclass
class Written:
    """All of it, in the order in which it was written."""

    results: Counter[str] = field(default_factory=Counter)
    """How often each job was given a terminal result."""
    stories: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    inbox: list[Entry] = field(default_factory=list)
    falls: list[Event] = field(default_factory=list)
    changes: list[Event] = field(default_factory=list)
    """Every change of a breaker."""


def read(directory: Path) -> Written:
    """Read the append-only files of a server; `UnreadableLog` when they do not hold the whole run."""
    told = Written()
    for command in every_write(directory):
        _note(told, command)
    return told


def _note(told: Written, command: Command) -> None:
    verb, key = command[0].upper(), command[1] if len(command) > 1 else b""
    if verb == b"SET" and key.startswith(RESULT):
        told.results[key[len(RESULT) :].decode()] += 1
    elif verb == b"RPUSH" and key.startswith(EVENTS):
        told.stories[key[len(EVENTS) :].decode()] += [json.loads(row) for row in command[2:]]
    elif verb == b"XADD" and key.startswith(INBOX):
        fields = _fields(command)
        told.inbox.append(Entry(fields["id"], fields["kind"], float(fields["at"])))
    elif verb == b"XADD" and key == FALLS:
        told.falls.append(json.loads(_fields(command)["fall"]))
    elif verb == b"LPUSH" and key == HISTORY:
        told.changes += [json.loads(row) for row in command[2:]]


def _fields(command: Sequence[bytes]) -> dict[str, str]:
    """The fields of an XADD: what follows its options and the id of the entry."""
    at = 2
    while (word := command[at].upper()) in _WIDTHS:
        at += _WIDTHS[word] + (command[at + 1] in (b"~", b"=") and word != b"NOMKSTREAM")
    pairs = [part.decode(errors="replace") for part in command[at + 1 :]]
    return dict(zip(pairs[::2], pairs[1::2], strict=True))
