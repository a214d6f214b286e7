"""An event loop in a thread of its own, for a client without one."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

from openfall.producers.after_fork import keep_in_children
from openfall.producers.errors import ClientClosed
from openfall.router_core.errors import InvalidOperation

STOP_TIMEOUT_SECONDS = 5.0
"""The longest wait for the last steps of a thread. It is a daemon: the process may end without it."""

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for other threads, in the process that made it. The thread starts with the first call.

    `last` is its last step. The thread keeps what belongs to its loop: the garbage collector, which runs in any thread,
    would close connections and generators there.
    """

    def __init__(self, last: Callable[[], Awaitable[None]]) -> None:
        self._last = last
        self._iterated = set[AsyncGenerator[Any]]()
        self._process = os.getpid()
        self._lock = threading.RLock()  # reentrant: a signal handler may call while its thread is in `_schedule`
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._stopped = self._at_exit = False
        keep_in_children(self)

    def call(self, step: Callable[[], Awaitable[T]]) -> T:
        """The result of a step. An interrupt (Ctrl-C) cancels it. Raises `ClientClosed` and `InvalidOperation`."""
        future = self._schedule(step)
        try:
            return future.result()
        except CancelledError:
            if self._stopped:
                raise closed(at_exit=self._at_exit) from None
            raise
        finally:
            future.cancel()

    def iterate(self, items: AsyncGenerator[T]) -> Generator[T, None, None]:
        """The items of a generator, none of which is None. A caller who leaves early, or is interrupted, closes it."""
        one_step = asyncio.Lock()  # the step that an interrupt cancels may still run: a generator closes only after it

        async def step() -> T | None:
            async with one_step:
                return await anext(items, None)

        async def close() -> None:
            async with one_step:
                await items.aclose()

        self._iterated.add(items)
        try:
            while (item := self.call(step)) is not None:
                yield item
        finally:
            with suppress(InvalidOperation):
                self.call(close)
                self._iterated.discard(items)

    def stop(self, *, at_exit: bool = False) -> None:
        """Run the last step, cancel all others, and end the thread. `at_exit`: the interpreter ends."""
        with self._lock:
            self._at_exit = at_exit
            thread = None if self._stopped else self._thread
            future = self._schedule(self._last) if thread else None
            self._stopped = True
        if thread and future and self._loop:
            with suppress(TimeoutError, CancelledError):
                future.result(STOP_TIMEOUT_SECONDS)
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopping.set)
            thread.join(STOP_TIMEOUT_SECONDS)

    def leave(self) -> None:
        """As `stop`, and does not wait. The garbage collector may call it, in any thread and at any moment."""
        loop = self._loop
        if loop is None or self._stopped:
            return
        self._stopped = True

        async def end() -> None:
            try:
                await self._last()
            finally:
                self._stopping.set()

        with suppress(RuntimeError):  # the loop has ended
            asyncio.run_coroutine_threadsafe(end(), loop)

    def _schedule(self, step: Callable[[], Awaitable[T]]) -> Future[T]:
        if os.getpid() != self._process:
            raise InvalidOperation("this belongs to the process before the fork: open a new one with the client")
        with self._lock:
            if self._stopped:
                raise closed(at_exit=self._at_exit)
            if threading.current_thread() is self._thread:
                raise InvalidOperation("Openfall would wait for itself in its own thread: use AsyncOpenfall there")
            return asyncio.run_coroutine_threadsafe(_run(step), self._loop or self._start())

    def _start(self) -> asyncio.AbstractEventLoop:
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), name="openfall", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # the interpreter ends, or the system has no thread left
            self._thread = None
            raise InvalidOperation(f"Openfall cannot start its thread now: {error}") from None
        self._loop = started.result()
        return self._loop

    async def _serve(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        started.set_result(asyncio.get_running_loop())
        await self._stopping.wait()


def closed(*, at_exit: bool) -> BaseException:
    """What a call of a client that is closed raises. At the exit only daemon threads are left, which end in silence:
    Python would print the traceback of any other error."""
    return SystemExit() if at_exit and threading.current_thread().daemon else ClientClosed()


async def _run(step: Callable[[], Awaitable[T]]) -> T:
    return await step()
