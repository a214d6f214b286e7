"""The slots of one worker: fewer than configured while its process lacks descriptors, memory, ports or threads."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

log = logging.getLogger("openfall.worker")

PAUSE_SECONDS = 1.0
"""After a shortage the worker claims nothing for this time: calls that end free what it lacks."""

GROW_SECONDS = 5.0
"""After each such time without a shortage the worker takes one slot more."""


class WorkerShortage(Exception):
    """This process lacks something that a call needs. Nothing is reported about the upstream."""


@dataclass(slots=True)
class Slots:
    """How many calls a worker makes at once. It logs each shortage, and the end of the last one."""

    configured: int
    shortage: str = field(default="", init=False)
    """What the process lacks; empty: every slot is in use again."""
    reported: str = field(default="", init=False)
    """The `state` that the fleet knows."""
    _count: int = field(init=False)
    _changed_at: float = field(default=0.0, init=False)
    _claims_from: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._count = self.configured

    @property
    def count(self) -> int:
        """The slots that the worker takes now."""
        self._grow(time.monotonic())
        return self._count

    def free(self, running: int) -> int:
        """How many calls may be started now."""
        return 0 if time.monotonic() < self._claims_from else max(0, self.count - running)

    def shrink(self, reason: str, running: int) -> None:
        """A call could not be made. `running` are the calls in flight, that one included."""
        now = time.monotonic()
        count = max(1, min(self._count, running - 1))
        if count < self._count or not self.shortage:
            log.warning(
                "%s: takes %d of %d slots until it passes; its jobs are put back", reason, count, self.configured
            )
        self._count, self.shortage = count, reason
        self._changed_at, self._claims_from = now, now + PAUSE_SECONDS

    @property
    def state(self) -> str:
        """The shortage for people; empty: there is none."""
        return f"{self.shortage}: takes {self.count} of {self.configured} slots" if self.shortage else ""

    def _grow(self, now: float) -> None:
        while self.shortage and now - self._changed_at >= GROW_SECONDS:
            self._count += 1
            self._changed_at += GROW_SECONDS
            if self._count >= self.configured:
                self._count, self.shortage = self.configured, ""
                log.info("the shortage has passed: every slot is in use again")
