"""The signals that stop a process, and what each does."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from itertools import chain, repeat

log = logging.getLogger("openfall.process")


def stop_signals() -> tuple[signal.Signals, ...]:
    """SIGTERM, SIGINT (Ctrl-C) and SIGHUP (a closed terminal). Not those that the starter of the process has set to
    ignored: a shell does so with SIGINT for what its script starts in the background, `nohup` with SIGHUP."""
    others = [number for number in signal.Signals if number.name in ("SIGINT", "SIGHUP")]
    return signal.SIGTERM, *(number for number in others if signal.getsignal(number) is not signal.SIG_IGN)


def end_on_interrupt() -> None:
    """End at Ctrl-C without a traceback, until the process handles it, unless it is ignored. One that came while Python
    started counts."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def handle_stop_signals(drain: Callable[[], None], stop: Callable[[], None]) -> None:
    """The first signal drains: running calls may end. Every further one stops at once."""
    handlers = chain((drain,), repeat(stop))
    loop = asyncio.get_running_loop()
    for number in stop_signals():
        loop.add_signal_handler(number, lambda: next(handlers)())
    ignore_user_signals()


def user_signals() -> tuple[signal.Signals, ...]:
    """SIGUSR1 and SIGUSR2, where the system has them: programs that rotate logs send them to other programs."""
    return tuple(number for number in signal.Signals if number.name in ("SIGUSR1", "SIGUSR2"))


def ignore_user_signals() -> None:
    """Log them. Without that they would end the process, and its calls with it."""
    for number in user_signals():
        words = f"{number.name} is ignored: SIGTERM stops this process, and its log needs no signal"
        asyncio.get_running_loop().add_signal_handler(number, log.warning, words)
