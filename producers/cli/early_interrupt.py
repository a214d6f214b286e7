"""Ctrl-C while the modules of a command are imported."""

from __future__ import annotations

import os
import signal
from typing import NoReturn

from openfall.producers.cli.exit_codes import INTERRUPTED

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))


def exit_at_once_on_interrupt() -> None:
    """Ctrl-C ends the process at once, until `raise_on_interrupt`: while modules are imported there is nothing to
    explain, and Python drops a KeyboardInterrupt that it raises in a callback of an import."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, exit_at_once)


def raise_on_interrupt() -> None:
    """Ctrl-C, and each other signal that would end the process at once, raises KeyboardInterrupt: a command begins."""
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is exit_at_once:
            signal.signal(number, signal.default_int_handler)


def exit_at_once(_number: int, _frame: object) -> NoReturn:
    """A handler of a signal."""
    os._exit(INTERRUPTED)
