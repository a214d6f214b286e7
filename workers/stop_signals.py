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
    """SIGINT, SIGTERM, and SIGHUP (a closed terminal), unless SIGHUP is ignored: the process runs under `nohup`."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, hangup


def end_on_interrupt() -> None:
    """End at Ctrl-C without a traceback, until the process handles it. One that came while Python started counts."""
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
