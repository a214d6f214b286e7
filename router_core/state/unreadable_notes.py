"""Notes about values that a reader could not decode: they are counted and listed beside what the scripts set aside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

REPEAT_SECONDS = 60.0
"""A connection notes the same place once in this time."""
FLEET_REPEAT_SECONDS = 3600
"""The fleet counts the same note once in this time: the value stays as it is, and many processes read it."""
LAST_NOTES_SECONDS = 0.5
"""How long a connection that closes waits for what it noted last."""
MAX_PLACES = 1000
"""Places that a connection remembers."""


class UnreadableNotes:
    """The notes of one connection. `clock`: seconds; tests use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[str, str] = {}
        self._noted_at: dict[str, float] = {}

    @contextmanager
    def reading(self, place: str) -> Iterator[None]:
        """Inside this block the functions of decoding.py note what they cannot read. `place`: the key, without the
        hash of a secret. Nothing is awaited inside the block."""
        token = _READING.set((self, place))
        try:
            yield
        finally:
            _READING.reset(token)

    def add(self, place: str, why: str) -> None:
        """Note a value of this place, unless the last note is recent."""
        now = self._clock()
        if now - self._noted_at.get(place, float("-inf")) < REPEAT_SECONDS:
            return
        if len(self._noted_at) >= MAX_PLACES:
            self._noted_at.clear()
        self._noted_at[place] = now
        self._waiting[place] = why

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self) -> dict[str, Any]:
        """The notes that are not sent yet, as arguments of the script `note_unreadable`."""
        notes, self._waiting = list(self._waiting.items()), {}
        return {"notes": notes, "repeat_ms": FLEET_REPEAT_SECONDS * 1000}


_READING: ContextVar[tuple[UnreadableNotes, str] | None] = ContextVar("reading", default=None)


def note_unreadable(why: str) -> None:
    """Note that a value of the place that is being read cannot be decoded: `is no JSON`. The value itself is never part
    of the note. Outside of `reading` nothing is noted: the value is not one of Redis."""
    if (current := _READING.get()) is not None:
        notes, place = current
        notes.add(place, why)
