"""The server of one profile as a supervised service: how it starts, when it is ready, how it stops."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from pathlib import Path

from openfall.config import Manifest
from openfall.workers.local.child import Child, spawn
from openfall.workers.local.engine import PORT_RELEASE_S
from openfall.workers.local.engine_process import PREFIX
from openfall.workers.local.errors import LocalError
from openfall.workers.local.liveness import get
from openfall.workers.local.pidfile import write_record
from openfall.workers.local.ports import describe_port_holder, port_released
from openfall.workers.local.restarter import Report, Service, Started
from openfall.workers.sidecar.engine_command import engine_command

READINESS_INTERVAL_SECONDS = 0.5
FIRST_INTERVAL_SECONDS, FIRST_SECONDS = 0.1, 2.0
"""A small model is ready within a second: at first the server is asked more often."""
STOP_GRACE_SECONDS = 10.0
"""Between SIGTERM and SIGKILL."""
CRASH_WINDOW_SECONDS = 600.0
_MISSING = 404
"""A server without `/health`."""

_OUT_OF_MEMORY = re.compile(
    r"out of memory|outofdevicememory|failed to allocate|unable to allocate|not enough (?:memory|vram)", re.IGNORECASE
)
_FAULT = re.compile(r"error|fail|cannot|unknown|invalid|unable", re.IGNORECASE)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_LINES = 40


class LoadError(LocalError):
    """A server that did not become ready. `code`: that of the refusal which follows."""

    def __init__(self, message: str, code: str = "load_failed") -> None:
        super().__init__(message)
        self.code = code


class ProfileService(Service):
    """A service for a `Restarter`: `llama-server`, or another program, with the flags of a profile."""

    crash_window_s = CRASH_WINDOW_SECONDS

    def __init__(self, manifest: Manifest, name: str) -> None:
        self.manifest, self.name = manifest, name
        self.what = f"profile-{_UNSAFE.sub('_', name)}"
        self.crashes = manifest.sections.restarts
        self.log = manifest.data_dir / "log" / f"{self.what}.log"

    @property
    def record(self) -> Path:
        """Where its process is recorded, for the next start of the sidecar."""
        return self.manifest.data_dir / f"{self.what}.pid"

    async def start(self, report: Report) -> Started:
        profile = self.manifest.profiles[self.name]
        port = profile.port or _free_port()
        if not await port_released(port, PORT_RELEASE_S):
            raise LoadError(
                f"{self.name}: port {port} is taken by {describe_port_holder(port)}. Stop it, or write another `port`"
            )
        child = await spawn(engine_command(self.manifest, self.name, port), self.log, environment=profile.environment)
        write_record(self.record, child.identity, {})
        async with child.stopped_on_failure(STOP_GRACE_SECONDS):
            await self._ready(child, port)
        return Started(child=child, fields={"port": port}, stop=lambda stop_now: self._stop(child))

    async def _ready(self, child: Child, port: int) -> None:
        began = time.monotonic()
        limit = self.manifest.sections.max_load_time
        while (elapsed := time.monotonic() - began) < limit:
            if not child.running():
                raise await self._ended(child)
            if await _is_ready(port, self.manifest.profiles[self.name].readiness):
                return
            interval = FIRST_INTERVAL_SECONDS if elapsed < FIRST_SECONDS else READINESS_INTERVAL_SECONDS
            await _end_within(child, interval)
        raise LoadError(f"{self.name} is not ready after {limit:g} s (log: {self.log})", "timeout")

    async def _ended(self, child: Child) -> LoadError:
        """Why a server ended before it was ready, in one line: its own words."""
        code, lines = await child.wait(), [line.strip() for line in child.last_lines(_LINES) if line.strip()]
        faults = [line for line in lines if line.startswith(PREFIX)] or [line for line in lines if _FAULT.search(line)]
        words = (faults or lines or ["it wrote nothing"])[-1].removeprefix(PREFIX)
        is_memory = any(_OUT_OF_MEMORY.search(line) for line in lines)
        message = f"{self.name} ended while starting (exit status {code}): {words} (log: {self.log})"
        return LoadError(message, "no_vram" if is_memory else "load_failed")

    async def _stop(self, child: Child) -> None:
        await child.stop(STOP_GRACE_SECONDS)
        self.record.unlink(missing_ok=True)


async def _is_ready(port: int, path: str) -> bool:
    """Whether the server has its model. llama-server lists the model while it loads, and says so in `/health`."""
    health = await get(port, "/health")
    if health is None or health[0] not in (200, _MISSING):
        return False
    listed = await get(port, path)
    return listed is not None and listed[0] == 200


async def _end_within(child: Child, seconds: float) -> None:
    """Wait for the end of a process, at most this long: a crash is noticed at once."""
    end = asyncio.ensure_future(child.wait())
    await asyncio.wait([end], timeout=seconds)
    end.cancel()


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])
