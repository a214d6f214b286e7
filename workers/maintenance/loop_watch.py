"""Notices when the event loop of a worker stands still: then no other call of the worker goes on."""

from __future__ import annotations

import logging
import time

log = logging.getLogger("openfall.worker")

WATCH_INTERVAL_SECONDS = 0.1
BLOCKED_SECONDS = 0.25


class LoopWatch:
    """Checks the loop at each interval. Only time that this thread computed counts: a busy machine blocks no loop."""

    def __init__(self) -> None:
        self._checked_at, self._computed = time.monotonic(), time.thread_time()

    async def check(self) -> None:
        """Log the block since the last check, if there was one."""
        now, computed = time.monotonic(), time.thread_time()
        late, used = now - self._checked_at - WATCH_INTERVAL_SECONDS, computed - self._computed
        self._checked_at, self._computed = now, computed
        if (blocked := min(late, used)) > BLOCKED_SECONDS:
            log.warning("the event loop stood still for %.2f s", blocked)
