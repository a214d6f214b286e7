"""Reports the state of this process to the service manager that started it: sd_notify(3), for systemd's `Type=notify`.

Without a service manager nothing is sent. A container has none: its probes look at the age of `$OPENFALL_ALIVE_FILE`.
PyPI's packages for this protocol were weighed: none had a release since 2017
or is in wide use, and the protocol is one datagram.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

ADDRESS, WATCHDOG_USEC, WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
ALIVE_FILE = "OPENFALL_ALIVE_FILE"
ALIVE_FILE_SECONDS = 60.0
"""The age of the file from which its process counts as dead."""
BEATS_PER_WATCHDOG = 3
"""systemd recommends half of its limit. A third leaves room for a machine under load."""
STOP_RESERVE_SECONDS = 15.0
"""For what follows the grace of a process: putting jobs back, and its last settlements."""


@dataclass(slots=True)
class ServiceManager:
    """The service manager, and what it wants to know."""

    address: str = ""
    """A path, or `@name` of an abstract socket. Without it nothing is sent."""
    watchdog_seconds: float | None = None
    """The service manager kills this process when `alive` was not called for this time. None: never."""
    announces: bool = False
    """Whether `{"event": "ready"}` is written to standard output once this process is ready: its starter reads it."""
    alive_file: str = ""
    """It exists from `ready` on, and its modification time is that of the last `alive`."""
    _alive_at: float = field(default=float("-inf"), init=False)

    @classmethod
    def of(cls, environ: MutableMapping[str, str], *, announces: bool = False) -> ServiceManager:
        """The one that the environment names. It is removed there: processes that this one starts are no services."""
        address, watchdog, pid = (environ.pop(name, "") for name in (ADDRESS, WATCHDOG_USEC, WATCHDOG_PID))
        is_meant = watchdog.isdecimal() and int(watchdog) > 0 and pid in ("", str(os.getpid()))
        seconds = int(watchdog) / 1e6 if is_meant else None
        address = address if address.startswith(("/", "@")) else ""
        file = environ.pop(ALIVE_FILE, "")
        return cls(address, seconds if address else ALIVE_FILE_SECONDS if file else None, announces, file)

    @property
    def beat_seconds(self) -> float | None:
        """How often `alive` is to be called. None: nothing waits for it."""
        return self.watchdog_seconds / BEATS_PER_WATCHDOG if self.watchdog_seconds else None

    def ready(self, status: str = "ready") -> None:
        """This process does its work from now on."""
        self._send("READY=1", f"STATUS={status}")
        self._touch()
        if self.announces:
            print('{"event": "ready"}', flush=True)  # noqa: T201 - for the program that started this one

    def reloading(self) -> None:
        """A changed configuration is being applied. `reloaded` follows."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def reloaded(self, status: str = "") -> None:
        """A configuration is in force: the changed one with its `status`, or without one the previous."""
        self._send("READY=1", *([f"STATUS={status}"] if status else []))

    def stopping(self, grace_seconds: float) -> None:
        """This process stops, and needs at most `grace_seconds` and a little for it."""
        microseconds = round((grace_seconds + STOP_RESERVE_SECONDS) * 1e6)
        self._send("STOPPING=1", "STATUS=stopping: calls in flight may finish", f"EXTEND_TIMEOUT_USEC={microseconds}")

    def alive(self) -> None:
        """The loop of this process turns. It may be called at each turn: it sends what is due."""
        beat, now = self.beat_seconds, time.monotonic()
        if beat is not None and now - self._alive_at >= beat:
            self._alive_at = now
            self._send("WATCHDOG=1")
            self._touch()

    async def stay_alive(self, is_alive: Callable[[], bool] = lambda: True) -> None:
        """Call `alive` for ever, as long as the event loop runs and `is_alive` agrees."""
        while (beat := self.beat_seconds) is not None:
            if is_alive():
                self.alive()
            await asyncio.sleep(beat)

    def _touch(self) -> None:
        if self.alive_file:
            with contextlib.suppress(OSError):
                Path(self.alive_file).touch()

    def _send(self, *lines: str) -> None:
        if not self.address:
            return
        target = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        # A service manager that is gone or busy must not stop the work.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.setblocking(False)
            own.sendto("\n".join(lines).encode(), target)
