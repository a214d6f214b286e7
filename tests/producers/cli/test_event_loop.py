"""The event loop of a command, and the signals that end it in the background of a shell script."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from openfall.producers.cli.event_loop import run_async


def end_by_sigterm(run: Callable[[Coroutine[Any, Any, None]], None]) -> list[str]:
    """What a command does that a SIGTERM ends between two of its lines, where SIGTERM raises KeyboardInterrupt."""
    steps: list[str] = []

    async def main() -> None:
        signal.raise_signal(signal.SIGTERM)
        steps.append("went on to its next await")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            steps.append("was cancelled there")
            raise

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(main())
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler, "the next one is handled too"
    finally:
        signal.signal(signal.SIGTERM, before)
    return steps


def test_a_signal_that_raises_keyboard_interrupt_cancels_a_command_as_ctrl_c_does() -> None:
    assert end_by_sigterm(run_async) == ["went on to its next await", "was cancelled there"]
    assert end_by_sigterm(asyncio.run) == [], "asyncio alone ends it between two lines"
