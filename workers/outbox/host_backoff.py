"""Pauses deliveries to hosts that do not answer, so that one silent host holds up no other delivery."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 4.0, 300.0
"""The first pause; each further one is twice as long, up to the maximum."""

MAX_HOSTS = 1000
"""Hosts that are remembered. Beyond that the oldest entry is dropped."""


@dataclass(slots=True)
class HostBackoff:
    """The silent hosts that one process knows. `clock` is monotonic, in seconds."""

    clock: Callable[[], float] = time.monotonic
    _pauses: dict[str, tuple[float, float]] = field(default_factory=dict, init=False)
    """Host -> when its pause ends, and how long the pause is."""

    def remaining(self, host: str) -> float:
        """Seconds until the host may be called again; 0: now."""
        return max(0.0, self._pauses.get(host, (0.0, 0.0))[0] - self.clock())

    def record_failure(self, host: str) -> None:
        """Start a pause. A call that was already in flight when a pause began does not extend it."""
        if self.remaining(host):
            return
        length = min(MAX_BACKOFF_SECONDS, 2 * self._pauses.pop(host, (0.0, INITIAL_BACKOFF_SECONDS / 2))[1])
        self._pauses[host] = (self.clock() + length, length)
        if len(self._pauses) > MAX_HOSTS:
            del self._pauses[next(iter(self._pauses))]

    def record_answer(self, host: str) -> None:
        """The host has answered: forget its pauses."""
        self._pauses.pop(host, None)
