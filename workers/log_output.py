"""Writes the log to standard error from a thread of its own: a slow reader of it never blocks the event loop."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque

GATHER_SECONDS = 0.05
"""How long lines are gathered for one write: each wake-up of the thread takes time from the event loop."""
MAX_LINES = 20_000
"""Lines that wait to be written. Later ones are dropped and counted."""
FLUSH_TIMEOUT_SECONDS = 1.0
"""How long `flush` waits: a process must be able to end although nothing reads its log."""


class LineFormatter(logging.Formatter):
    """`08:00:00 I message`. It formats the time once a second."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname).1s %(message)s")
        self._second, self._text = 0, ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        second = int(record.created)
        if second != self._second:
            self._second, self._text = second, time.strftime("%H:%M:%S", time.localtime(second))
        return self._text


class BackgroundHandler(logging.Handler):
    """Formats a line at once, and writes it to a file descriptor within `GATHER_SECONDS`."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.setFormatter(LineFormatter())
        self._descriptor, self._lines, self._dropped = descriptor, deque[str](), 0
        self._waiting, self._writing = threading.Event(), False
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Add a line. Never blocks."""
        if len(self._lines) >= MAX_LINES:
            self._dropped += 1
            return
        try:
            self._lines.append(self.format(record))
        except Exception:  # noqa: BLE001 - a line that cannot be formatted must not end its caller
            self.handleError(record)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_forever, name="log", daemon=True)
            self._thread.start()
        if not self._waiting.is_set():
            self._waiting.set()

    def flush(self) -> None:
        """Wait until the lines are written, for `FLUSH_TIMEOUT_SECONDS` at most."""
        end = time.monotonic() + FLUSH_TIMEOUT_SECONDS
        while (self._lines or self._writing) and time.monotonic() < end:
            time.sleep(GATHER_SECONDS / 10)

    def _write_forever(self) -> None:
        while True:
            self._waiting.wait()
            time.sleep(GATHER_SECONDS)
            self._waiting.clear()
            self._writing = True
            self._write()
            self._writing = False

    def _write(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        dropped, self._dropped = self._dropped, 0
        if dropped:
            lines.append(f"{dropped} lines of the log were dropped: nothing reads standard error")
        data = memoryview("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
        with contextlib.suppress(OSError):  # its reader is gone: the work goes on
            while data:
                data = data[os.write(self._descriptor, data) :]


def configure_logging(level: int, descriptor: int) -> None:
    """Log to a file descriptor in the background.

    No line has the name of a source file, a thread or a process, so none is looked up (Python's "Logging HOWTO",
    Optimization).
    """
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=level, handlers=[BackgroundHandler(descriptor)])
