"""Ctrl-C while the modules of a command are imported."""

from __future__ import annotations

import os
import signal
from typing import NoReturn

from openfall.producers.cli.exit_codes import INTERRUPTED


def exit_at_once_on_interrupt() -> None:
    """Ctrl-C ends the process at once, until `raise_on_interrupt`: while modules are imported there is nothing to
    explain, and Python drops a KeyboardInterrupt that it raises in a callback of an import."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit_at_once)


def raise_on_interrupt() -> None:
    """Ctrl-C raises KeyboardInterrupt again: a command begins."""
    if signal.getsignal(signal.SIGINT) is _exit_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit_at_once(_number: int, _frame: object) -> NoReturn:
    os._exit(INTERRUPTED)
