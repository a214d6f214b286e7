"""A profile whose server runs, or is about to: its state and its calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any

from openfall.config import Manifest
from openfall.workers.local.errors import LocalError
from openfall.workers.local.restarter import Restarter
from openfall.workers.sidecar.profile_service import ProfileService


class ResidentState(StrEnum):
    """What the server of a profile does."""

    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    ERROR = "error"
    """It has crashed too often, and is not started again."""


class Resident:
    """The server of one profile, kept running until it is stopped. `calls`: in flight, or granted. `closing`: it gets
    no new call."""

    def __init__(self, manifest: Manifest, name: str, on_event: Callable[[Mapping[str, Any]], None]) -> None:
        self.name, self.gb = name, manifest.profiles[name].vram_gb
        self.state, self.error = ResidentState.LOADING, ""
        self.port, self.pid, self.restarts, self.calls = 0, 0, 0, 0
        self.since = self.used_at = time.monotonic()
        self.closing = False
        self._on_event = on_event
        self._restarter = Restarter(ProfileService(manifest, name), self._note)
        self._changed = asyncio.Event()
        self._run: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        return self.state is ResidentState.READY and not self.closing

    def gave_up_within(self, seconds: float) -> bool:
        """Whether its server crashed too often, and the last crash was within this time."""
        return self.state is ResidentState.ERROR and time.monotonic() - self.since < seconds

    async def load(self) -> None:
        """Start it, and wait until it is ready. `LocalError` if it does not become ready. A cancelled load leaves no
        process."""
        self._run = asyncio.create_task(self._restarter.run(), name=f"profile {self.name}")
        ready = asyncio.create_task(self._restarter.ready.wait())
        try:
            await asyncio.wait({self._run, ready}, return_when=asyncio.FIRST_COMPLETED)
            if self._run.done():
                self._run.result()
        except BaseException:
            await self.stop()
            raise
        finally:
            ready.cancel()

    async def wait_until_settled(self) -> None:
        """Wait until it is ready again, or has given up."""
        while self.state is ResidentState.RESTARTING:
            await self._changed.wait()

    async def wait_until_idle(self, timeout_seconds: float) -> None:
        """Wait until its calls have ended, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while self.calls:
                    await self._changed.wait()

    def release(self) -> None:
        """A call has ended."""
        self.calls -= 1
        self.used_at = time.monotonic()
        self._wake()

    async def stop(self) -> None:
        """Stop its server."""
        if self._run is not None:
            self._run.cancel()
            with suppress(asyncio.CancelledError, LocalError):
                await self._run
        await self._restarter.stop(asyncio.Event())

    def _note(self, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "ready":
                self.port, self.pid = event["port"], event["pid"]
                self._become(ResidentState.READY)
            case "exited":
                self.restarts += 1
                self._become(ResidentState.RESTARTING)
            case "gave_up":
                self.error = f"{self.name}: {event['error']}"
                self._become(ResidentState.ERROR)
        self._on_event(event)

    def _become(self, state: ResidentState) -> None:
        self.state, self.since = state, time.monotonic()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
