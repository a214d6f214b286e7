"""Ctrl-C while a program without an event loop waits for the next item of a stream or an inbox."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator

import pytest

from openfall.producers.loop_thread import LoopThread


async def _interrupting(closed: list[str]) -> AsyncGenerator[str, None]:
    """Gives one item, then interrupts the main thread and waits, as deep in tasks as a reader of Redis does."""
    try:
        yield "first"
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        async with asyncio.timeout(60):
            await asyncio.gather(asyncio.Event().wait())
    finally:
        await asyncio.sleep(0)
        closed.append("closed")


async def _nothing() -> None:
    pass


def test_an_interrupt_while_the_next_item_is_awaited_stays_an_interrupt_and_closes_the_generator() -> None:
    thread, closed, items = LoopThread(_nothing), list[str](), list[str]()
    try:
        with pytest.raises(KeyboardInterrupt):
            items.extend(thread.iterate(_interrupting(closed)))
        assert closed == ["closed"]
    finally:
        thread.stop()
    assert items == ["first"]


def test_a_caller_who_leaves_early_closes_the_generator() -> None:
    thread, closed = LoopThread(_nothing), list[str]()
    try:
        items = thread.iterate(_interrupting(closed))
        assert next(items) == "first"
        items.close()
        assert closed == ["closed"]
    finally:
        thread.stop()
