"""Cancels that redis-py cannot swallow."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def keep_cancel() -> Iterator[None]:
    """Raise `CancelledError` at the end if the task was cancelled within, and the awaited call swallowed it.

    A caller's time limit cancels only once: without it the task would wait for ever.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    yield
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError


def start_background(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """A task of a client that may never be closed. Its loop may end without a cancel of it (`run_until_complete`,
    nest_asyncio): asyncio then reports nothing, because nothing is lost."""
    task = asyncio.create_task(coroutine, name=name)
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - as asyncio.gather does
    return task


async def cancel_all(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks until they have ended, whatever their outcome. asyncio logs none of their errors.

    One cancel is not enough: redis-py (8.1) swallows a cancel that meets the end of a blocking read, and the task goes
    on. Measured: one worker in four hung at its stop."""
    given = {task for task in tasks if task is not None}
    running = {task for task in given if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=0.05)
    for task in given:
        if not task.cancelled():
            task.exception()
