"""Turns the command into one of the processes that it starts."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn


def become(module: str, *arguments: str) -> NoReturn:
    """Run the module in place of this process.

    A Ctrl-C in the meantime waits for `end_on_interrupt` of the module: Python would answer it with a traceback.
    """
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
