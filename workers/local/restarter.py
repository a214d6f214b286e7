"""Keeps one part running: starts it, waits for its end, starts it again after a pause."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from openfall.workers.local.errors import LocalError
from openfall.workers.local.services import Report, Service, Started

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_MEMORY = 60.0
"""Seconds after which an end is forgotten: neither the pause nor the count of crashes remembers it."""


class Restarter:
    """One part and its fate. `settled` is set once it was ready; `code` is not 0 if it was given up."""

    def __init__(self, part: Service, report: Report) -> None:
        self.part, self._report = part, report
        self.settled = asyncio.Event()
        self.code = 0
        self._started: Started | None = None
        self._ends: deque[float] = deque()

    async def keep(self) -> None:
        """Until it is stopped, ends for good, or is given up. `LocalError` only if the first start fails."""
        self._tell("starting")
        await self._start()
        if self.part.notice:
            self._tell("notice", text=self.part.notice)
        self.settled.set()
        while self._started:
            code = await self._started.child.wait()
            self._started = None
            if self._over(code):
                return
            await self._again(code)

    async def stop(self, hurry: asyncio.Event) -> None:
        """Stop it, if it runs. Call this only after `keep` has been cancelled."""
        if self._started is None:
            return
        await self._started.stop(hurry)
        if not self._started.child.running():
            self._tell("stopped", code=await self._started.child.wait())

    async def _start(self) -> None:
        began = time.monotonic()
        self._started = started = await self.part.start(self._report)
        self._tell("ready", pid=started.child.pid, seconds=round(time.monotonic() - began, 3), **started.told)

    def _over(self, code: int | None) -> bool:
        if code in self.part.final:
            self.code = code or 0
            self._tell("gave_up" if code else "finished", code=code)
            return True
        return self._crashed_too_often(f"it ended with exit status {code}")

    async def _again(self, code: int | None) -> None:
        pause = self._pause()
        self._tell("exited", code=code, restarting_in=pause)
        while True:
            await asyncio.sleep(pause)
            try:
                return await self._start()
            except LocalError as error:
                if self._crashed_too_often(str(error)):
                    return None
                pause = self._pause()
                self._tell("restart_failed", error=str(error), restarting_in=pause)

    def _crashed_too_often(self, why: str) -> bool:
        """Remember one more end; say so and give up if there were too many of late."""
        now = time.monotonic()
        self._ends.append(now)
        while self._ends[0] < now - _MEMORY:
            self._ends.popleft()
        if self.part.crashes is None or len(self._ends) <= self.part.crashes:
            return False
        self.code = 1
        self._tell("gave_up", error=f"{len(self._ends)} crashes within {_MEMORY:.0f} s; the last: {why}")
        return True

    def _pause(self) -> float:
        """Seconds: 0.2, 0.4 ... 5, by how often it ended of late."""
        return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(len(self._ends) - 1, 8))

    def _tell(self, event: str, **told: Any) -> None:
        self._report({"event": event, "what": self.part.what, **told})
