"""The `openfall` command."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn

from openfall.producers.cli.early_interrupt import ENDING_SIGNALS, exit_at_once, exit_at_once_on_interrupt
from openfall.producers.cli.exit_codes import INTERRUPTED


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line as a process: run a command and exit with its code. Ctrl-C ends it without a traceback."""
    sys.excepthook = _ignore_interrupt
    exit_at_once_on_interrupt()
    try:
        from openfall.producers.cli import commands, crash_log, standard_streams

        sys.excepthook = crash_log.report_unexpected
        _interrupt_on_other_signals()
        standard_streams.prepare()
        code = commands.run(argv)
    except KeyboardInterrupt:
        code = INTERRUPTED
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup SIGHUP stays ignored
            signal.signal(number, signal.SIG_DFL)  # the end of the process has nothing left to clean up
    sys.exit(code)


def _interrupt_on_other_signals() -> None:
    """SIGTERM (`timeout`, a service manager) and SIGHUP (a closed terminal) end a command as Ctrl-C does: it names the
    job or batch that continues.

    Under `nohup` SIGHUP stays ignored. In the background of a shell script SIGINT is ignored, and asyncio leaves it
    so: there `event_loop.run_async` handles each of them as asyncio handles SIGINT elsewhere.
    """
    is_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    handler = exit_at_once if is_ignored else lambda _number, _frame: signal.raise_signal(signal.SIGINT)
    for number in ENDING_SIGNALS[1:]:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _ignore_interrupt(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Until the modules of a command are imported."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
