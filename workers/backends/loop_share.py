"""What an answer may cost this process in time on the event loop, whatever an upstream sends.

The reasons and the figures are in docs/decisions.md.
"""

from __future__ import annotations

import asyncio
import time

SLICE_SECONDS = 0.004
"""How long the reading of one answer may keep the event loop at a time."""

FREE_SECONDS = 0.1
ORDINARY_SHARE = 0.1
"""What the reading of an answer may use of the event loop: `FREE_SECONDS`, and this share of the time since its start.
An ordinary stream of 100 tokens a second uses 0.01."""

HEAVY_SHARE = 0.2
"""The share of the event loop that all answers together get which use more."""

LARGE_BYTES = 2**18
SECONDS_A_BYTE = 15e-9
"""What reading a JSON text takes. A smaller one than `LARGE_BYTES` takes less than a slice."""


class LoopShare:
    """Shares the event loop among the answers that are read, in slices. Each books its next slice after those that are
    booked, so that one round of the loop has few of them.

    A heavy answer uses more of the loop than an ordinary one ever does. All heavy ones together get `HEAVY_SHARE`, and
    no ordinary one waits for them. What an answer uses is time of the CPU: while others use the machine, or the process
    stands still, it uses none.
    """

    _ordinary_until = _heavy_until = 0.0
    """Of all answers of this process: when the slices that are booked end."""

    def __init__(self) -> None:
        self._began, self._since = time.perf_counter(), time.thread_time()
        self._used = self._slice = 0.0

    def begin(self) -> None:
        """The reading continues after a wait for the network."""
        self._since = time.thread_time()

    def is_over(self) -> bool:
        """Whether the slice is used up: then `rest` is due."""
        return self._slice + time.thread_time() - self._since > SLICE_SECONDS

    def charge(self, seconds: float) -> None:
        """The connection of the answer has used the loop, too."""
        self._slice += seconds

    def pause(self) -> None:
        """The reading waits for the network."""
        self._slice += time.thread_time() - self._since

    async def rest(self) -> None:
        """Leave the loop to others, for as long as is fair."""
        await asyncio.sleep(self.end_slice())
        self._since = time.thread_time()

    @classmethod
    async def await_step(cls, size: int) -> None:
        """Wait until no other answer reads a large text in the same round of the loop. `size`: the bytes of the text
        that is read next, in one step."""
        if size < LARGE_BYTES:
            return
        now = time.perf_counter()
        begin = max(now, cls._ordinary_until)
        cls._ordinary_until = begin + size * SECONDS_A_BYTE
        await asyncio.sleep(begin - now)

    def end_slice(self) -> float:
        """The seconds for which the loop belongs to others now."""
        now = time.perf_counter()
        used, self._slice = self._slice + time.thread_time() - self._since, 0.0
        self._used += used
        if self._used <= FREE_SECONDS + ORDINARY_SHARE * (now - self._began):
            LoopShare._ordinary_until = max(now, LoopShare._ordinary_until) + used
            return LoopShare._ordinary_until - now
        LoopShare._heavy_until = max(now, LoopShare._heavy_until) + used / HEAVY_SHARE
        return LoopShare._heavy_until - now
