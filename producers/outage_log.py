"""A line of the log while Redis does not answer: a program that waits for it would show nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from openfall.router_core.state.errors import NotConfirmed

log = logging.getLogger("openfall.client")

SILENT_SECONDS = 1.5
"""A shorter outage is not logged."""
REPEAT_SECONDS = 60.0
NOT_CONFIRMED = "it has jobs, but does not confirm that they are on its disk and its replicas"
"""The words of `NotConfirmed` name one job, and ask the caller to submit it again: here that is under way."""


class OutageLog:
    """One line for each error, and one a minute while it lasts, however many calls wait and errors alternate."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged_at: dict[str, float] = {}

    def note(self, error: Exception, since: float) -> None:
        """A call still waits for Redis, `since` a moment (monotonic)."""
        now, text = self._clock(), NOT_CONFIRMED if isinstance(error, NotConfirmed) else str(error)
        self._logged_at = {text: at for text, at in self._logged_at.items() if now - at < REPEAT_SECONDS}
        if now - since < SILENT_SECONDS or text in self._logged_at:
            return
        self._logged_at[text] = now
        log.warning("waiting for Redis: %s", text)


OUTAGES = OutageLog()
"""That of this process."""
