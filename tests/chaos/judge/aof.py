"""What the server itself wrote down: every write of a run, in order, from its append-only file.

Keys and shapes are read as they stand in the file. Moments are epoch milliseconds on the server's clock.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Command = list[bytes]
Event = dict[str, Any]

RESULT, EVENTS, INBOX, FALLS, HISTORY = b"of:result:", b"of:events:", b"of:inbox:", b"of:falls", b"of:breaker-history"

_OPTION_WIDTHS = {b"NOMKSTREAM": 1, b"MAXLEN": 2, b"MINID": 2, b"LIMIT": 2}
"""The options of an XADD with their arguments; a `~` or `=` comes on top."""


class UnreadableLog(ValueError):
    """An append-only file from which the run cannot be counted."""


@dataclass(frozen=True)
class InboxEntry:
    """One entry of an inbox."""

    job: str
    kind: str
    at: float


@dataclass
class History:
    """The writes of a run, in their order."""

    commands: int = 0
    results: Counter[str] = field(default_factory=Counter)
    """How often each job was given a terminal result."""
    stories: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    """The events of each job."""
    inbox: list[InboxEntry] = field(default_factory=list)
    falls: list[Event] = field(default_factory=list)
    breaker_changes: list[Event] = field(default_factory=list)


def read(directory: Path) -> History:
    """Read the append-only files of a server; `UnreadableLog` if they do not hold the whole run."""
    history = History()
    for command in read_commands(directory):
        _add(history, command)
    return history


def read_commands(directory: Path) -> Iterator[Command]:
    """Every write of a run, in order; `UnreadableLog` when the append-only files do not hold the whole run."""
    files = sorted(directory.glob("*.aof"), key=_sequence)
    bases = [path.name for path in directory.iterdir() if ".base." in path.name]
    if not files:
        raise UnreadableLog(f"no append-only file in {directory}")
    if any(".1.base." not in name for name in bases):
        raise UnreadableLog(f"the server rewrote its append-only file ({', '.join(bases)}): what it held is gone")
    for path in files:
        yield from commands(path.read_bytes())


def commands(data: bytes) -> Iterator[Command]:
    """The commands that took effect: a transaction counts from its EXEC, and a torn end does not count."""
    transaction: list[Command] | None = None
    for command in _parsed(data):
        verb = command[0].upper()
        if verb == b"MULTI":
            transaction = []
        elif verb == b"EXEC":
            yield from transaction or ()
            transaction = None
        elif transaction is not None:
            transaction.append(command)
        else:
            yield command


def _sequence(path: Path) -> int:
    """`appendonly.aof.12.incr.aof` -> 12."""
    return next((int(part) for part in path.name.split(".") if part.isdigit()), 0)


def _parsed(data: bytes) -> Iterator[Command]:
    at, end = 0, len(data)
    while at < end:
        line = data.find(b"\r\n", at)
        if line < 0:
            return
        kind = data[at : at + 1]
        if kind == b"#":  # a timestamp annotation
            at = line + 2
            continue
        if kind != b"*":
            raise UnreadableLog(f"byte {at}: a command begins with '*', not {kind!r}")
        count, at = int(data[at + 1 : line]), line + 2
        command: Command = []
        for _ in range(count):
            line = data.find(b"\r\n", at)
            if line < 0:
                return
            start = line + 2
            stop = start + int(data[at + 1 : line])
            if stop + 2 > end:
                return
            command.append(data[start:stop])
            at = stop + 2
        yield command


def _add(history: History, command: Command) -> None:
    history.commands += 1
    verb, key = command[0].upper(), command[1] if len(command) > 1 else b""
    if verb == b"SET" and key.startswith(RESULT):
        history.results[key[len(RESULT) :].decode()] += 1
    elif verb == b"RPUSH" and key.startswith(EVENTS):
        history.stories[key[len(EVENTS) :].decode()] += [json.loads(row) for row in command[2:]]
    elif verb == b"XADD" and key.startswith(INBOX):
        fields = _fields(command)
        history.inbox.append(InboxEntry(fields["id"], fields["kind"], float(fields["at"])))
    elif verb == b"XADD" and key == FALLS:
        history.falls.append(json.loads(_fields(command)["fall"]))
    elif verb == b"LPUSH" and key == HISTORY:
        history.breaker_changes += [json.loads(row) for row in command[2:]]


def _fields(command: Sequence[bytes]) -> dict[str, str]:
    """The fields of an XADD: they follow its options and the id of the entry."""
    at = 2
    while (word := command[at].upper()) in _OPTION_WIDTHS:
        at += _OPTION_WIDTHS[word] + (command[at + 1] in (b"~", b"=") and word != b"NOMKSTREAM")
    pairs = [part.decode(errors="replace") for part in command[at + 1 :]]
    return dict(zip(pairs[::2], pairs[1::2], strict=True))
