"""Adds the events of a stream to its answer, and reports the pieces in the order that each API can say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from openfall.router_core.jobs.outcome import Outcome
from openfall.router_core.jobs.stream_pieces import Piece, text_of
from openfall.workers.backends.answer_bounds import (
    MAX_ANSWER_BYTES,
    MAX_STREAM_MEMORY,
    MEASURED_BYTES,
    MEASURED_SHARE,
    AnswerTooLarge,
    KeptBytes,
    event_memory,
    kept_memory,
)
from openfall.workers.backends.answer_formats import format_instead, recognize
from openfall.workers.backends.call_order import CallOrder
from openfall.workers.backends.exact_json import in_utf8
from openfall.workers.backends.loop_share import LARGE_BYTES, LoopShare

if TYPE_CHECKING:
    from openfall.workers.backends.response_reader import AnswerReader


WAIT_FOR_END_SECONDS = 2.0
"""How long after its last event a stream whose answer is whole is over. The usage may follow the answer, and some
servers never send an end."""

MAX_SILENCE_SECONDS = 1.0
"""The most that counts between two looks at a stream. A longer time is a stall of this process, and what arrived
meanwhile is read first."""


class EventAdder:
    """Adds the events of one stream to its answer, with a fair share of the event loop."""

    def __init__(self, reader: AnswerReader, kept: KeptBytes) -> None:
        self.answer = reader.wire.assembler()
        self._reader, self._kept = reader, kept
        self._order = CallOrder()
        self._is_recognized = False
        self._loop_share = LoopShare()
        self._characters = self._waiting = self._unmeasured = 0
        self._by_events = self._by_measure = 0
        """The memory of its structure: what the long events were charged for, and what was measured beyond that."""
        self._is_silent = False
        self._looked_at = self._silence = 0.0
        """When the silence was measured last, and the seconds of it. A comment is no event: some proxies send one every
        few milliseconds."""

    async def add(self, events: Iterable[bytes]) -> None:
        """Add some events. Raises `AnswerTooLarge`."""
        reader, loop_share = self._reader, self._loop_share
        loop_share.begin()
        for event in events:
            if self.answer.ended:
                return
            if len(event) >= LARGE_BYTES:
                loop_share.pause()
                await loop_share.await_step(len(event))
                loop_share.begin()
            self._is_silent = False
            pieces = self._add(in_utf8(event, reader.content_type))
            answer = self.answer
            reader.watch.count(answer.characters, text_of(pieces))
            self._report(self._order.add(pieces))
            of_event = event_memory(event)
            if memory := of_event + answer.characters - self._characters:
                self._kept.take(memory, MAX_STREAM_MEMORY)
                self._characters = answer.characters
            self._by_events += of_event
            self._unmeasured += len(event)
            if self._unmeasured >= max(MEASURED_BYTES, self._by_measure // MEASURED_SHARE):
                await self._measure()
            if loop_share.is_over():
                await loop_share.rest()
        loop_share.pause()
        if loop_share.is_over():
            await loop_share.rest()

    async def _measure(self) -> None:
        """Take the memory that the answer has beyond what its events were charged for. Each of many short events may
        begin a tool call, or bring a new field. Raises `AnswerTooLarge`."""
        self._unmeasured, size = 0, 0
        for part in kept_memory(self.answer, self._order):
            size += part
            if self._loop_share.is_over():
                await self._loop_share.rest()
        if (more := size - self._by_events - self._by_measure) > 0:
            self._kept.take(more, MAX_STREAM_MEMORY)
            self._by_measure += more

    def is_over(self) -> bool:
        """Whether the answer is whole, and no event has followed it for `WAIT_FOR_END_SECONDS`."""
        if self.answer.finished_choices < self._reader.choices:
            return False
        now = asyncio.get_running_loop().time()
        self._silence = self._silence + min(now - self._looked_at, MAX_SILENCE_SECONDS) if self._is_silent else 0.0
        self._is_silent, self._looked_at = True, now
        return self._silence >= WAIT_FOR_END_SECONDS

    def end(self) -> Outcome:
        """The outcome at the end of the stream."""
        self._report(self._order.end())
        return self.answer.outcome()

    def _report(self, pieces: list[Piece]) -> None:
        if pieces and self._reader.on_pieces:
            self._reader.on_pieces(pieces)

    def _add(self, event: bytes) -> list[Piece]:
        """Add an event. The first one that shows its dialect decides how the answer is read."""
        if not self._is_recognized:
            dialect = recognize(event)
            self._is_recognized = dialect is not None
            if other := format_instead(self._reader.wire.dialect, dialect):
                self.answer = self._reader.read_as(other).assembler()
        return self.answer.add(event)

    def note_waiting(self, size: int) -> None:
        """Note the bytes of an event that is not complete yet. Raises `AnswerTooLarge`."""
        if size > MAX_ANSWER_BYTES:
            raise AnswerTooLarge(f"an event of the stream is longer than {MAX_ANSWER_BYTES / 2**20:g} MiB")
        self._kept.take(size - self._waiting, MAX_STREAM_MEMORY)
        self._waiting = size
