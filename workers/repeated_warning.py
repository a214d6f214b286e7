"""Logs a failure that repeats, without a line for each time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

REPEAT_SECONDS = 60.0


@dataclass(slots=True)
class RepeatedWarning:
    """A warning when a task begins to fail or fails for another reason, one a minute while it lasts, and a line at its
    end."""

    log: logging.Logger
    task: str
    clock: Callable[[], float] = time.monotonic
    _reason: str = ""
    _since: float = 0.0
    _logged_at: float = 0.0

    def warn(self, error: Exception) -> None:
        """The task has failed."""
        now, before = self.clock(), self._reason
        self._reason = str(error)
        if not before:
            self._since = now
        if self._reason != before:
            self.log.warning("%s: %s", self.task, error)
        elif now - self._logged_at >= REPEAT_SECONDS:
            self.log.warning("%s, for %.0f s now: %s", self.task, now - self._since, error)
        else:
            return
        self._logged_at = now

    def end(self) -> None:
        """The task works."""
        if self._reason:
            self.log.info("%s: the failure is over after %.0f s", self.task, self.clock() - self._since)
            self._reason = ""
