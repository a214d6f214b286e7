"""The log of a process: lines with date and zone, in a file of bounded size that only its owner can read.

`NAME.log` becomes `NAME.log.1` when it is full, `NAME.log.1` becomes `NAME.log.2`, and so on; the oldest is deleted.
"""

from __future__ import annotations

import os
import re
import time
from asyncio import StreamReader
from collections import deque
from pathlib import Path

from openfall.workers.line_writer import LineWriter
from openfall.workers.local.private_files import make_private
from openfall.workers.timestamp import iso_time

MAX_BYTES = 5_000_000
BACKUPS = 3
MAX_LINE_BYTES = 65_536
"""A longer line is cut into several."""
RECENT_LINES = 200
"""Lines that stay in memory, for the message about the end of the process."""

_WITHOUT_TIME = re.compile(rb"^(?!.{0,40}\d{4}-\d\d-\d\dT\d\d:\d\d)(?=.)", re.MULTILINE)
"""The beginning of a line that has no time of its own."""


class LogFile:
    """Appends lines. A disk that is full loses lines, and delays nothing: a line says how many, once there is room."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self.recent: deque[bytes] = deque(maxlen=RECENT_LINES)
        self._max_bytes = max_bytes
        self._writer = LineWriter(lambda words: _stamp(f"{words}\n".encode()))
        make_private(path.parent)

    def write(self, lines: bytes) -> None:
        """Append whole lines, each with a time."""
        if not lines:
            return
        self.recent.extend(lines.splitlines())
        stamped = _stamp(lines if lines.endswith(b"\n") else lines + b"\n")
        try:
            if not self.path.parent.exists():  # it was removed while the process runs
                make_private(self.path.parent)
            self._rotate()
            with open(self.path, "ab", opener=_open_private) as file:
                self._writer.write(file.fileno(), stamped)
        except OSError as error:
            self._writer.lose(stamped, error)

    async def follow(self, output: StreamReader) -> None:
        """Write the output of a process until it ends."""
        rest, is_cut = b"", False
        while chunk := await output.read(MAX_LINE_BYTES):
            text = rest + (chunk.removeprefix(b"\n") if is_cut else chunk)
            lines, newline, rest = text.rpartition(b"\n")
            is_cut = len(rest) > MAX_LINE_BYTES
            if is_cut:
                newline, rest = newline + rest, b""
            self.write(lines + newline)
        self.write(rest)

    def _rotate(self) -> None:
        if not self.path.exists() or self.path.stat().st_size < self._max_bytes:
            return
        for number in range(BACKUPS, 0, -1):
            older = self.path if number == 1 else self._backup(number - 1)
            if older.exists():
                older.replace(self._backup(number))

    def _backup(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _stamp(lines: bytes) -> bytes:
    return _WITHOUT_TIME.sub(iso_time(time.time()).encode() + b" ", lines)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
