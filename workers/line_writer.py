"""Appends lines to a file descriptor, and counts the lines that it does not take: its disk is full, or its reader is
gone."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class LineWriter:
    """Writes whole lines. After lines were lost, the next ones begin on a line of their own, and a notice follows them.

    `notice` makes a line of the log from its words. `lost` is the number of lines since the last notice, `why` the
    cause of the last loss.
    """

    notice: Callable[[str], bytes]
    lost: int = 0
    why: str = ""
    _is_cut: bool = False
    """The last line in the file has no end."""

    def write(self, descriptor: int, lines: bytes) -> None:
        """Append lines that end with a newline. Raises nothing for lines that are lost."""
        if self._append(descriptor, lines) and self.lost:
            lost, self.lost = self.lost, 0
            if not self._append(descriptor, self.notice(f"{lost} lines of the log were dropped: {self.why}")):
                self.lost += lost - 1  # the notice is no line that was lost

    def lose(self, lines: bytes, error: OSError) -> None:
        """Count lines that cannot be written."""
        self.lost += lines.count(b"\n")
        self.why = (error.strerror or str(error)).lower()

    def _append(self, descriptor: int, lines: bytes) -> bool:
        rest = b"\n" + lines if self._is_cut else lines
        try:
            while rest:
                written = os.write(descriptor, rest)
                self._is_cut = rest[written - 1 : written] != b"\n"
                rest = rest[written:]
        except OSError as error:
            self.lose(rest.removeprefix(b"\n") if rest[1:] == lines else rest, error)
            return False
        return True


def append_always(descriptor: int) -> None:
    """Let each write go to the end of a file, also after a program that rotates logs has truncated it (`copytruncate`).

    Otherwise a file that a shell opened with `> FILE` begins with a zero byte for each byte of the old log.
    """
    if sys.platform == "win32" or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return
    import fcntl  # not on Windows

    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
