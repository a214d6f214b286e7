"""The time in which this process ran: that of a laptop that sleeps or of a paused container does not count. Pure."""

from __future__ import annotations

TICK_SECONDS = 0.5
"""A running process reads the time at least this often."""

STOPPED_SECONDS = 2.0
"""Without a reading for longer than this, the process stood still. A busy machine is late by less."""

GRACE_SECONDS = 1.0
"""After a standstill: what has arrived meanwhile is read before any limit is reached."""


class AwakeTime:
    """A clock that stands still when its process does. `now` is that of a monotonic clock, in seconds."""

    def __init__(self, now: float) -> None:
        self._read_at, self._lost = now, 0.0
        self.limits_from = now
        """No limit is reached before this moment."""

    def read(self, now: float) -> float:
        """The moment, less the time of all standstills."""
        gap, self._read_at = now - self._read_at, now
        if gap > STOPPED_SECONDS:
            self._lost += gap - TICK_SECONDS
            self.limits_from = now - self._lost + GRACE_SECONDS
        return now - self._lost
