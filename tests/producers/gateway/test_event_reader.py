"""A reader of events is woken by an interruption, and by nothing else than its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import pytest

from openfall.producers.gateway.event_reader import Event, EventReader, Interrupted


class Scripted:
    """Events that a test puts in. `was_closed`: the generator has ended."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event | Exception] = asyncio.Queue()
        self.was_closed = False

    async def events(self) -> AsyncGenerator[Event, None]:
        try:
            while True:
                event = await self.queue.get()
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.was_closed = True


def reading(test: Callable[[Scripted, EventReader, asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run a test with a reader, and the event that interrupts it."""

    async def main() -> None:
        script, stop = Scripted(), asyncio.Event()
        reader = EventReader(script.events(), asyncio.create_task(stop.wait()))
        async with asyncio.timeout(60):
            try:
                await test(script, reader, stop)
            finally:
                await reader.close()

    asyncio.run(main())


def test_an_event_that_a_limited_wait_did_not_see_is_the_next_one() -> None:
    async def test(script: Scripted, reader: EventReader, _: asyncio.Event) -> None:
        assert await reader.next_within(0) is None
        assert await reader.next_within(0.01) is None
        for number in range(3):
            script.queue.put_nowait({"event": str(number)})
        assert [(await reader.next_event())["event"] for _ in range(3)] == ["0", "1", "2"]

    reading(test)


@pytest.mark.parametrize("has_pending", [False, True])
def test_an_interruption_ends_a_wait(has_pending: bool) -> None:
    async def test(script: Scripted, reader: EventReader, stop: asyncio.Event) -> None:
        if has_pending:
            assert await reader.next_within(0) is None
        waiting = asyncio.create_task(reader.next_event())
        await asyncio.sleep(0)
        assert reader.is_waiting
        stop.set()
        with pytest.raises(Interrupted):
            await waiting
        with pytest.raises(Interrupted):
            await reader.next_event()
        assert not reader.is_waiting

    reading(test)


def test_an_interruption_between_two_waits_ends_the_next_one() -> None:
    async def test(script: Scripted, reader: EventReader, stop: asyncio.Event) -> None:
        script.queue.put_nowait({"event": "first"})
        assert await reader.next_event() == {"event": "first"}
        stop.set()
        await asyncio.sleep(0)
        with pytest.raises(Interrupted):
            await reader.next_event()

    reading(test)


def test_a_cancel_by_another_stays_a_cancel() -> None:
    async def test(script: Scripted, reader: EventReader, stop: asyncio.Event) -> None:
        waiting = asyncio.create_task(reader.next_event())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    reading(test)


@pytest.mark.parametrize("limited", [False, True])
def test_an_error_of_the_events_is_raised_where_the_next_one_is_awaited(limited: bool) -> None:
    async def test(script: Scripted, reader: EventReader, _: asyncio.Event) -> None:
        script.queue.put_nowait(ValueError("unread"))
        with pytest.raises(ValueError, match="unread"):
            await (reader.next_within(10) if limited else reader.next_event())

    reading(test)


def test_a_closed_reader_has_ended_its_events() -> None:
    async def test(script: Scripted, reader: EventReader, _: asyncio.Event) -> None:
        assert await reader.next_within(0) is None
        await asyncio.sleep(0)
        await reader.close()
        assert script.was_closed

    reading(test)
