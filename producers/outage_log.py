"""A line of the log while Redis does not answer: a program that waits for it would show nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger("openfall.client")

SILENT_SECONDS = 1.5
"""A shorter outage is not logged."""
REPEAT_SECONDS = 60.0


class OutageLog:
    """One line for each outage, and one a minute while it lasts, however many calls wait."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._text, self._logged_at = "", float("-inf")

    def note(self, error: Exception, since: float) -> None:
        """A call still waits for Redis, `since` a moment (monotonic)."""
        now, text = self._clock(), str(error)
        is_logged = text == self._text and now - self._logged_at < REPEAT_SECONDS
        if now - since < SILENT_SECONDS or is_logged:
            return
        self._text, self._logged_at = text, now
        log.warning("waiting for Redis: %s", text)


OUTAGES = OutageLog()
"""That of this process."""
