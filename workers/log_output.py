"""Writes the log to standard error from a thread of its own: a slow reader of it never blocks the event loop.

Control characters in a line are escaped: words from outside must not control the terminal that shows the log."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from openfall.router_core.printable import escape_controls

GATHER_SECONDS = 0.2
"""How long lines are gathered for one write: each wake-up of the thread takes time from the event loop."""
MAX_LINES = 20_000
"""Lines that wait to be written. Later ones are dropped and counted."""
MAX_DEFERRED = 2_000
"""Lines that wait to be built. They keep their results, with the answers in them, in memory meanwhile."""
LINES_IN_A_ROW = 32
"""Lines that the thread builds before it lets the event loop run."""
FLUSH_TIMEOUT_SECONDS = 1.0
"""How long `flush` waits: a process must be able to end although nothing reads its log."""


def iso_time(moment: float) -> str:
    """A moment (epoch seconds) in the local time zone: `2026-11-21T08:00:00+01:00`."""
    return datetime.fromtimestamp(int(moment)).astimezone().isoformat()


class LineFormatter(logging.Formatter):
    """`2026-11-21T08:00:00+01:00 I message`. It formats the time once a second."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname).1s %(message)s")
        self._stamp = (0, "")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        return self.format_moment(record.created)

    def format_moment(self, moment: float) -> str:
        """A moment (epoch seconds), with its zone."""
        second, text = self._stamp
        if int(moment) != second:
            second = int(moment)
            text = iso_time(second)
            self._stamp = (second, text)
        return text


@dataclass(frozen=True, slots=True)
class DeferredLine:
    """A line that the thread builds."""

    at: float
    build: Callable[..., str]
    arguments: tuple[Any, ...]


class BackgroundHandler(logging.Handler):
    """Formats a line at once, and writes it to a file descriptor within `GATHER_SECONDS`."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._formatter = LineFormatter()
        self.setFormatter(self._formatter)
        self._descriptor, self._lines, self._dropped = descriptor, deque[str | DeferredLine](), 0
        self._waiting, self._urgent, self._writing = threading.Event(), threading.Event(), False
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Add a line. Never blocks."""
        try:
            self._add(self.format(record))
        except Exception:  # noqa: BLE001 - a line that cannot be formatted must not end its caller
            self.handleError(record)

    def defer(self, build: Callable[..., str], *arguments: Any) -> None:
        """Add a line of level info that the thread builds. The arguments must not change. Never blocks."""
        line = DeferredLine(time.time(), build, arguments)
        self._add(line if len(self._lines) < MAX_DEFERRED else self._build(line))

    def _add(self, line: str | DeferredLine) -> None:
        if len(self._lines) >= MAX_LINES:
            self._dropped += 1
            return
        self._lines.append(line)
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_forever, name="log", daemon=True)
            self._thread.start()
        if not self._waiting.is_set():
            self._waiting.set()

    def flush(self) -> None:
        """Wait until the lines are written, for `FLUSH_TIMEOUT_SECONDS` at most."""
        end = time.monotonic() + FLUSH_TIMEOUT_SECONDS
        self._urgent.set()
        while (self._lines or self._writing) and time.monotonic() < end:
            time.sleep(0.001)
        self._urgent.clear()

    def _write_forever(self) -> None:
        while True:
            self._waiting.wait()
            self._urgent.wait(GATHER_SECONDS)
            self._waiting.clear()
            self._writing = True
            self._write()
            self._writing = False

    def _write(self) -> None:
        lines = []
        for number in range(len(self._lines)):
            line = self._lines.popleft()
            lines.append(line if isinstance(line, str) else self._build(line))
            if number % LINES_IN_A_ROW == 0:
                time.sleep(0)  # the event loop goes on
        dropped, self._dropped = self._dropped, 0
        if dropped:
            lines.append(f"{dropped} lines of the log were dropped: nothing reads standard error")
        data = memoryview(escape_controls("".join(f"{line}\n" for line in lines)).encode())
        with contextlib.suppress(OSError):  # its reader is gone: the work goes on
            while data:
                data = data[os.write(self._descriptor, data) :]

    def _build(self, line: DeferredLine) -> str:
        try:
            text = line.build(*line.arguments)
        except Exception as error:  # noqa: BLE001 - the other lines must be written
            text = f"a line of the log could not be built: {type(error).__name__}"
        return f"{self._formatter.format_moment(line.at)} I {text}"


def info(logger: logging.Logger, build: Callable[..., str], *arguments: Any) -> None:
    """Log the line that `build(*arguments)` returns, with level info: a frequent line, which a background log builds in
    its own thread, many in a row, in a third of the time. The arguments must not change."""
    if not logger.isEnabledFor(logging.INFO):
        return
    for handler in logging.root.handlers:
        if isinstance(handler, BackgroundHandler):
            handler.defer(build, *arguments)
            return
    logger.info("%s", build(*arguments))


def configure_logging(level: int, descriptor: int) -> None:
    """Log to a file descriptor in the background.

    No line has the name of a source file, a thread or a process, so none is looked up (Python's "Logging HOWTO",
    Optimization).
    """
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=level, handlers=[BackgroundHandler(descriptor)])
