"""The event loop of a command."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from openfall.producers.cli.early_interrupt import ENDING_SIGNALS

T = TypeVar("T")


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, in which each signal that raises `KeyboardInterrupt` cancels `main`, and raises it then.

    asyncio does so for SIGINT alone. In the background of a shell script SIGINT is ignored, and SIGTERM or SIGHUP would
    end `main` between any two lines: a batch would not count the jobs that are on their way to Redis."""

    numbers = [each for each in ENDING_SIGNALS[1:] if signal.getsignal(each) is signal.default_int_handler]

    async def with_signals() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is not None:
            for number in numbers:
                loop.add_signal_handler(number, task.cancel)
        return await main

    try:
        return asyncio.run(with_signals())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number in numbers:
            signal.signal(number, signal.default_int_handler)
