"""Keeps one service running: starts it, waits for its end, starts it again after a pause, gives it up."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from openfall.workers.local.child import Child
from openfall.workers.local.errors import LocalError

Report = Callable[[dict[str, Any]], None]
"""Receives the events, one JSON object at a time; see `supervisor`. It must not block."""

MAX_CRASHES = 3
"""An engine that crashes more often within a minute is not started again."""
_MIN_PAUSE_S, _MAX_PAUSE_S = 0.2, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A ready service. `fields` go into its `ready` event. `stop` takes the event that shortens the grace."""

    child: Child
    fields: Mapping[str, Any]
    stop: Callable[[asyncio.Event], Awaitable[object]]


class Service(ABC):
    """A service that a restarter keeps running.

    After an exit status in `final` it is not started again. `crashes` is the number of ends within `crash_window_s`
    after which the restarter still starts it (None: any number). An older end does not count, for the pause neither.
    `optional`: the others run without it, if it cannot start.
    """

    what: str
    notice = ""
    final = frozenset[int]()
    crashes: int | None = None
    crash_window_s = 60.0
    optional = False

    async def describe_port_conflict(self) -> str:
        """Which other process has a port of this service, and the remedy. Empty: none has."""
        return ""

    @abstractmethod
    async def start(self, report: Report) -> Started:
        """Start it and wait until it is ready. `LocalError` if that fails. A cancelled start leaves no process."""


class Restarter:
    """Runs one service. `ready` is set after its first start; `code` is not 0 if the restarter gave up."""

    def __init__(self, service: Service, report: Report) -> None:
        self.service, self._report = service, report
        self.ready = asyncio.Event()
        self.code = 0
        self._started: Started | None = None
        self._ends: deque[float] = deque()

    async def run(self) -> None:
        """Run until the service stops, ends for good, or crashes too often. `LocalError` if the first start fails,
        unless it is optional."""
        self._emit("starting")
        try:
            await self._start()
        except LocalError as error:
            if not self.service.optional:
                raise
            self._emit("gave_up", error=str(error))
            self.ready.set()
            return
        if self.service.notice:
            self._emit("notice", text=self.service.notice)
        self.ready.set()
        while self._started:
            code = await self._started.child.wait()
            self._started = None
            if self._is_final(code):
                return
            await self._restart(code)

    async def stop(self, stop_now: asyncio.Event) -> None:
        """Stop it, if it runs. Call this only after `run` has been cancelled."""
        if self._started is None:
            return
        await self._started.stop(stop_now)
        if not self._started.child.running():
            self._emit("stopped", code=await self._started.child.wait())

    async def _start(self) -> None:
        began = time.monotonic()
        self._started = started = await self.service.start(self._report)
        self._emit("ready", pid=started.child.pid, seconds=round(time.monotonic() - began, 3), **started.fields)

    def _is_final(self, code: int | None) -> bool:
        if code in self.service.final:
            self.code = code or 0
            self._emit("gave_up" if code else "finished", code=code)
            return True
        return self._crashed_too_often(f"it ended with exit status {code}")

    async def _restart(self, code: int | None) -> None:
        pause = self._pause()
        self._emit("exited", code=code, restarting_in=pause)
        while True:
            await asyncio.sleep(pause)
            try:
                return await self._start()
            except LocalError as error:
                if self._crashed_too_often(str(error)):
                    return None
                pause = self._pause()
                self._emit("restart_failed", error=str(error), restarting_in=pause)

    def _crashed_too_often(self, reason: str) -> bool:
        """Count one more end. Report and give up if there were too many within the window."""
        now, window = time.monotonic(), self.service.crash_window_s
        self._ends.append(now)
        while self._ends[0] < now - window:
            self._ends.popleft()
        if self.service.crashes is None or len(self._ends) <= self.service.crashes:
            return False
        self.code = 1
        self._emit("gave_up", error=f"{len(self._ends)} crashes within {window:.0f} s; the last: {reason}")
        return True

    def _pause(self) -> float:
        """Seconds: 0.2, 0.4 ... 5, by the number of recent ends."""
        return min(_MAX_PAUSE_S, _MIN_PAUSE_S * 2.0 ** min(len(self._ends) - 1, 8))

    def _emit(self, event: str, **fields: Any) -> None:
        self._report({"event": event, "what": self.service.what, **fields})
