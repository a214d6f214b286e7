"""The list of the values in Redis that could not be read: what scripts set aside, and what readers noted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_moment, read_object
from openfall.router_core.state.redis_connection import RedisConnection


@dataclass(frozen=True, slots=True)
class UnreadableValue:
    """A value in Redis that could not be read. `place` is its key and field; `at`: epoch seconds."""

    at: float
    place: str
    why: str


async def list_unreadable(link: RedisConnection) -> list[UnreadableValue]:
    """The last values that could not be read, newest first."""
    return read_unreadable(await link.command("LRANGE", keys.UNREADABLE, 0, -1))


def read_unreadable(rows: Iterable[bytes]) -> list[UnreadableValue]:
    """The entries of that list."""
    notes = filter(None, map(read_object, rows))
    return [UnreadableValue(read_moment(note.get("at")), str(note.get("what")), str(note.get("why"))) for note in notes]
