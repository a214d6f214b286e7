"""Hosts that do not answer are left alone for a while, so that what hangs on them holds up no other post."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

FIRST, MOST = 4.0, 300.0
"""Seconds: after the first silence, then twice, four times ... up to this."""

MOST_HOSTS = 1000
"""So many hosts are remembered; beyond that the oldest rest is forgotten."""


@dataclass(slots=True)
class HostBackoff:
    """What one process knows of silent hosts. `clock` is monotonic, in seconds."""

    clock: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[float, float]] = field(default_factory=dict, init=False)
    """Host -> until when, and how long that was."""

    def left(self, host: str) -> float:
        """Seconds for which the host is left alone; 0: it may be asked."""
        return max(0.0, self._known.get(host, (0.0, 0.0))[0] - self.clock())

    def begin(self, host: str) -> None:
        """The host was silent. What was under way when its rest began makes it no longer."""
        if self.left(host):
            return
        length = min(MOST, 2 * self._known.pop(host, (0.0, FIRST / 2))[1])
        self._known[host] = (self.clock() + length, length)
        if len(self._known) > MOST_HOSTS:
            del self._known[next(iter(self._known))]

    def end(self, host: str) -> None:
        """The host has answered."""
        self._known.pop(host, None)
