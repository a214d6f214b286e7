"""What the server itself wrote down: every write of a run, in order, from its append-only file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Command = list[bytes]

RESULT = b"of:result:"
EVENTS = b"of:events:"


class UnreadableLog(ValueError):
    """An append-only file from which the run cannot be counted."""


@dataclass(frozen=True)
class Takeover:
    """A job that went back to its queue because its worker was silent. `at` is epoch milliseconds, server clock."""

    job: str
    worker: str
    at: float
    why: str


@dataclass
class History:
    """What the append-only file tells. `results` counts how often each job was given a terminal result."""

    commands: int = 0
    results: Counter[str] = field(default_factory=Counter)
    started: Counter[str] = field(default_factory=Counter)
    takeovers: list[Takeover] = field(default_factory=list)


def read(directory: Path) -> History:
    """Count what is in all of a server's append-only files; `UnreadableLog` as with `written`."""
    history = History()
    for command in written(directory):
        _note(history, command)
    return history


def written(directory: Path) -> Iterator[Command]:
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


def _note(history: History, command: Command) -> None:
    history.commands += 1
    verb = command[0].upper()
    if verb == b"SET" and command[1].startswith(RESULT):
        history.results[command[1][len(RESULT) :].decode()] += 1
    elif verb == b"RPUSH" and command[1].startswith(EVENTS):
        job = command[1][len(EVENTS) :].decode()
        for told in command[2:]:
            _note_event(history, job, json.loads(told))


def _note_event(history: History, job: str, event: dict[str, Any]) -> None:
    if event["event"] == "started":
        history.started[job] += 1
    elif event["event"] == "queued" and "worker" in event:
        history.takeovers.append(Takeover(job, event["worker"], float(event["at"]), event["why"]))
