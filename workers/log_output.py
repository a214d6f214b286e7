"""Writes the log to standard error from a thread of its own: a slow reader of it never blocks the event loop."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from openfall.config import LoadedConfig, LogFormat
from openfall.router_core.printable import escape_controls
from openfall.workers.line_writer import LineWriter, append_always
from openfall.workers.log_format import LineFormatter, LogLine

GATHER_SECONDS = 0.2
"""How long lines are gathered for one write: each wake-up of the thread takes time from the event loop."""
MAX_LINES = 20_000
"""Lines that wait to be written. Later ones are dropped and counted."""
MAX_DEFERRED = 2_000
"""Lines that wait to be built. They keep their results, with the answers in them, in memory meanwhile."""
LINES_IN_A_ROW = 32
"""Lines that the thread builds before it lets the event loop run."""
ApplyToLog = Callable[[LoadedConfig], None]
FLUSH_TIMEOUT_SECONDS = 1.0
"""How long `flush` waits: a process must be able to end although nothing reads its log."""


@dataclass(frozen=True, slots=True)
class DeferredLine:
    """A line that the thread builds."""

    at: float
    logger: str
    build: Callable[..., LogLine]
    arguments: tuple[Any, ...]


class BackgroundHandler(logging.Handler):
    """Formats a line at once, and writes it to a file descriptor within `GATHER_SECONDS`."""

    formatter: LineFormatter

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.formatter = LineFormatter()
        append_always(descriptor)
        self._descriptor, self._writer = descriptor, LineWriter(self._notice)
        self._lines = deque[str | DeferredLine]()
        self._waiting, self._urgent, self._writing = threading.Event(), threading.Event(), False
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Add a line. Never blocks."""
        try:
            self._add(self.format(record))
        except Exception:  # noqa: BLE001 - a line that cannot be formatted must not end its caller
            self.handleError(record)

    def defer(self, logger: str, build: Callable[..., LogLine], *arguments: Any) -> None:
        """Add a line of level info that the thread builds. The arguments must not change. Never blocks."""
        line = DeferredLine(time.time(), logger, build, arguments)
        self._add(line if len(self._lines) < MAX_DEFERRED else self._build(line))

    def _add(self, line: str | DeferredLine) -> None:
        if len(self._lines) >= MAX_LINES:
            self._writer.lost += 1
            self._writer.why = "nothing reads standard error"
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
        self._writer.write(self._descriptor, "".join(f"{line}\n" for line in lines).encode())

    def _notice(self, words: str) -> bytes:
        line = self.formatter.format_line(time.time(), logging.WARNING, "openfall.log", LogLine(words))
        return f"{line}\n".encode()

    def _build(self, line: DeferredLine) -> str:
        try:
            words = line.build(*line.arguments)
        except Exception as error:  # noqa: BLE001 - the other lines must be written
            words = LogLine(f"a line of the log could not be built: {type(error).__name__}")
        return self.formatter.format_line(line.at, logging.INFO, line.logger, words)


def info(logger: logging.Logger, build: Callable[..., LogLine], *arguments: Any) -> None:
    """Log the line that `build(*arguments)` returns, with level info: a frequent line, which a background log builds in
    its own thread, many in a row, in a third of the time. The arguments must not change."""
    if not logger.isEnabledFor(logging.INFO):
        return
    for handler in logging.root.handlers:
        if isinstance(handler, BackgroundHandler):
            handler.defer(logger.name, build, *arguments)
            return
    line = build(*arguments)
    logger.info("%s", line.message, extra=dict(line.fields))


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """The options of a process that logs."""
    parser.add_argument("--quiet", action="store_true", help="log warnings and errors only")
    parser.add_argument("--log-format", type=LogFormat, choices=list(LogFormat), help="the form of a line of the log")


def configure_logging(quiet: bool, form: LogFormat | None = None) -> ApplyToLog:
    """Log to standard error in the background, or nowhere if it is closed. What this returns applies a configuration to
    the log: its secrets are masked, and its format is used, unless `form` is given.

    No line has the name of a source file, a thread or a process, so none is looked up (Python's "Logging HOWTO",
    Optimization). What would end as a traceback on standard error is a line too.
    """
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = BackgroundHandler(os.open(os.devnull, os.O_WRONLY) if sys.stderr is None else sys.stderr.fileno())
    handler.formatter = LineFormatter(form or LogFormat.HUMAN)
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, handlers=[handler])
    logging.captureWarnings(True)
    sys.excepthook = _log_unexpected
    threading.excepthook = lambda hook: _log_unexpected(hook.exc_type, hook.exc_value, hook.exc_traceback)

    def apply(loaded: LoadedConfig) -> None:
        handler.formatter = LineFormatter(form or loaded.settings.logs.format, loaded.secrets)

    return apply


def report_end(error: Exception, code: int) -> int:
    """Report the error that ends this process, and return its exit code: plain words on a terminal, else lines of the
    log."""
    for line in str(error).splitlines():
        if sys.stderr is not None and sys.stderr.isatty():
            print(escape_controls(line), file=sys.stderr)  # noqa: T201 - the words for the user
        else:
            logging.getLogger("openfall.process").error("%s", line)
    return code


def _log_unexpected(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is None or issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("openfall.process").critical("an unexpected error", exc_info=(kind, error, trace))
