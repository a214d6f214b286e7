"""`openfall up` as a process of ours: started with the demo's configuration, listened to, stopped for certain."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "examples" / "demo.yaml"

STARTS_WITHIN = 180.0
"""Seconds for the engines to load their models on a busy machine."""
STOPS_WITHIN = 30.0


class FleetFailed(Exception):
    """It did not start, or ended before it was told to. The message has what it said last."""


@dataclass(slots=True)
class Fleet:
    """What runs: the pid of every part (`valkey`, `engine-a`, `worker-gpu-1`), and what is told of them."""

    on_event: Callable[[Mapping[str, Any]], None]
    log: Path
    pids: dict[str, int] = field(default_factory=dict)
    supervisor: int | None = None
    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take in one event of the supervisor."""
        if event["event"] == "ready":
            self.pids[event["what"]] = event["pid"]
        elif event["event"] == "exited":
            self.pids.pop(event["what"], None)
        elif event["event"] == "fleet_ready":
            self._ready.set()
        self.on_event(event)

    def worker_of(self, name: str) -> str | None:
        """Which part a worker is, by its name in rq (`of-POOL-HOST-PID-NONCE`)."""
        pid = name.rsplit("-", 2)[1]
        return next((what for what, known in self.pids.items() if str(known) == pid), None)

    @contextmanager
    def unattended(self) -> Iterator[None]:
        """Nobody starts again what ends while the block lasts: the supervisor is paused."""
        assert self.supervisor is not None
        os.kill(self.supervisor, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(self.supervisor, signal.SIGCONT)

    async def ready(self, process: Process) -> None:
        """Return when everything runs; `FleetFailed` when it ends instead."""
        ways = [asyncio.create_task(self._ready.wait()), asyncio.create_task(process.wait())]
        await asyncio.wait(ways, timeout=STARTS_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        if not self._ready.is_set():
            raise FleetFailed(self.log.read_text(encoding="utf-8", errors="replace").strip() or "it did not get ready")


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody uses at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def environment(data: Path) -> dict[str, str]:
    """Ours, with what `demo.yaml` asks for: a data directory and two ports."""
    port_a, port_b = free_ports(2)
    told = {"OPENFALL_DEMO_DATA": data, "OPENFALL_ENGINE_A_PORT": port_a, "OPENFALL_ENGINE_B_PORT": port_b}
    return {**os.environ, **{name: str(value) for name, value in told.items()}}


@asynccontextmanager
async def running(environ: Mapping[str, str], on_event: Callable[[Mapping[str, Any]], None]) -> AsyncIterator[Fleet]:
    """A fleet that is ready; it is gone when the block ends, however that ends. `FleetFailed` if it cannot be had."""
    fleet = Fleet(on_event, Path(environ["OPENFALL_DEMO_DATA"]) / "up.log")
    command = [sys.executable, "-m", "openfall.workers", "up", "--config", str(CONFIG), "--json", "--quiet"]
    with fleet.log.open("wb") as log:
        # A session of its own: Ctrl-C is for us, and we stop it in good order.
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=dict(environ), stdout=PIPE, stderr=log, start_new_session=True
        )
    fleet.supervisor = process.pid
    listening = asyncio.create_task(_listen(process, fleet))
    try:
        await fleet.ready(process)
        yield fleet
    finally:
        await _stop(process)
        listening.cancel()


async def _listen(process: Process, fleet: Fleet) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        fleet.hear(json.loads(line))


async def _stop(process: Process) -> None:
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        process.send_signal(number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOPS_WITHIN)
