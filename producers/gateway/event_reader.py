"""Reads the events of a job for one caller, until something interrupts: the caller leaves, or the gateway stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from openfall.router_core.state.cancellation import cancel_all

Event = dict[str, Any]


class Interrupted(Exception):
    """One of the interruptions of a reader is done."""


class EventReader:
    """The events of a job, one at a time. A wait costs neither a task nor a timer: many streams wait 10,000 times a
    second. `interruptions` belong to the reader: it cancels them when it closes."""

    def __init__(self, events: AsyncGenerator[Event, None], *interruptions: asyncio.Task[Any]) -> None:
        self._events, self._interruptions = events, interruptions
        self._pending: asyncio.Task[Event] | None = None
        """The event that a wait with a limit has not seen."""
        self._waiting: asyncio.Task[Any] | None = None
        self._was_cancelled = False
        for interruption in interruptions:
            interruption.add_done_callback(self._interrupt)

    @property
    def is_waiting(self) -> bool:
        """Whether the caller of the reader waits for an event."""
        return self._waiting is not None

    async def next_within(self, seconds: float | None) -> Event | None:
        """The next event; None: there is none within this time. Raises `Interrupted`, and the errors of the events."""
        if self._pending is None:
            self._pending = asyncio.create_task(self._read())
        pending = self._pending
        self._waiting = asyncio.current_task()
        try:
            await asyncio.wait({pending, *self._interruptions}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting = None
        if pending.done():
            self._pending = None
            return pending.result()
        self._check()
        return None

    async def next_event(self) -> Event:
        """The next event. Raises `Interrupted`, and the errors of the events."""
        while self._pending is not None:
            if (event := await self.next_within(None)) is not None:
                return event
        self._check()
        self._waiting = task = asyncio.current_task()
        try:
            return await anext(self._events)
        except asyncio.CancelledError:
            if self._was_cancelled and task is not None and task.uncancel() == 0:
                raise Interrupted from None
            raise
        finally:
            self._waiting = None

    async def close(self) -> None:
        """End the subscription."""
        self._was_cancelled = True  # an interruption has no effect any more
        await cancel_all(self._pending, *self._interruptions)
        await self._events.aclose()

    async def _read(self) -> Event:
        return await anext(self._events)

    def _check(self) -> None:
        if any(interruption.done() for interruption in self._interruptions):
            raise Interrupted

    def _interrupt(self, _: asyncio.Task[Any]) -> None:
        """Wake the reader. With a pending event it waits for the interruptions as well."""
        if self._waiting is not None and self._pending is None and not self._was_cancelled:
            self._was_cancelled = True
            self._waiting.cancel()
