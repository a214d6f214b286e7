"""What an answer may cost this process, whatever an upstream sends: memory, and time on the event loop.

The reasons and the figures are in docs/decisions.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from openfall.router_core.jobs.json_bounds import count_values

MAX_ANSWER_BYTES = 16 * 2**20
"""Of a whole answer, decompressed. The longest texts are under 1 MiB, the largest pictures under 12."""

MAX_STREAM_BYTES = 256 * 2**20
"""Of a streamed answer. Its events repeat names and ids: 300 bytes for each token."""

MAX_STREAM_MEMORY = 64 * 2**20
"""What the assembly of a streamed answer may keep, by `event_memory`: 6,000 tokens with 20 alternatives each."""

MAX_PROCESS_MEMORY = 96 * 2**20
"""What all answers that one process reads may keep together."""

MIN_ANSWER_BYTES = 2**20
"""An answer may be as long as this, however many are read at once."""

ORDINARY_EVENT_BYTES = 512
"""An event of a stream up to this length has a token and its wrapping. Only its text is kept."""

VALUE_BYTES = 64
"""The memory of a value of JSON beside its text: the least that an object of Python takes."""

SLICE_SECONDS = 0.004
"""How long the reading of one answer may keep the event loop at a time."""

FREE_SECONDS = 0.1
ORDINARY_SHARE = 0.1
"""What the reading of an answer may use of the event loop: `FREE_SECONDS`, and this share of the time since its start.
An ordinary stream of 100 tokens a second uses 0.01."""

HEAVY_SHARE = 0.2
"""The share of the event loop that all answers together get which use more."""


class AnswerTooLarge(Exception):
    """An answer is larger than its bound."""


def event_memory(event: bytes) -> int:
    """About what the assembly of a stream keeps of an event, beside the text of its token."""
    if len(event) <= ORDINARY_EVENT_BYTES:
        return 0
    return len(event) - ORDINARY_EVENT_BYTES + VALUE_BYTES * max(0, count_values(event) - VALUE_BYTES)


class AnswerMemory:
    """The memory of the answers that this process reads. The more it reads at once, the less each may be.

    One answer may keep at most as much as is still free, so no answer leaves nothing for the others.
    """

    def __init__(self, total: int = MAX_PROCESS_MEMORY) -> None:
        self._free = total

    @contextmanager
    def reading(self) -> Iterator[KeptBytes]:
        """The memory of one answer, while it is read."""
        kept = KeptBytes(self)
        try:
            yield kept
        finally:
            self._free += kept.size

    def take(self, kept: KeptBytes, size: int, limit: int) -> None:
        """Keep more of an answer. Raises `AnswerTooLarge`."""
        allowed = min(limit, max(MIN_ANSWER_BYTES, self._free))
        if kept.size + size > allowed:
            raise AnswerTooLarge(f"the answer is longer than {allowed / 2**20:.3g} MiB")
        self._free -= size
        kept.size += size


class KeptBytes:
    """What one answer keeps. `limit`: the most that it may."""

    def __init__(self, memory: AnswerMemory) -> None:
        self._memory = memory
        self.size = 0

    def take(self, size: int, limit: int) -> None:
        """Keep more. Raises `AnswerTooLarge`."""
        if size:
            self._memory.take(self, size, limit)


ANSWER_MEMORY = AnswerMemory()


class Pace:
    """Shares the event loop among the answers that are read: each in slices, the heavy ones in turns.

    A heavy answer uses more of the loop than an ordinary one ever does. All heavy ones together get `HEAVY_SHARE`: each
    books its next turn after those that are booked.
    """

    _next_turn = 0.0
    """Of all answers of this process: when the turns that are booked end."""

    def __init__(self) -> None:
        self._began = self._since = time.perf_counter()
        self._used = self._slice = 0.0

    def begin(self) -> None:
        """The reading continues after a wait for the network."""
        self._since = time.perf_counter()

    def is_over(self) -> bool:
        """Whether the slice is used up: then `rest` is due."""
        return self._slice + time.perf_counter() - self._since > SLICE_SECONDS

    def charge(self, seconds: float) -> None:
        """The connection of the answer has used the loop, too."""
        self._slice += seconds

    def pause(self) -> None:
        """The reading waits for the network."""
        self._slice += time.perf_counter() - self._since

    async def rest(self) -> None:
        """Leave the loop to others, for as long as is fair."""
        now = time.perf_counter()
        used, self._slice = self._slice + now - self._since, 0.0
        self._used += used
        if self._used <= FREE_SECONDS + ORDINARY_SHARE * (now - self._began):
            await asyncio.sleep(0)
        else:
            Pace._next_turn = max(now, Pace._next_turn) + used / HEAVY_SHARE
            await asyncio.sleep(Pace._next_turn - now)
        self._since = time.perf_counter()
