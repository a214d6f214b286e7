"""Runs `openfall up` with the demo's configuration: reads its events, kills and pauses its parts, always stops it.

`openfall up` gets SIGTERM when the demo dies, however it dies, and stops its own parts then (Linux). A process that is
paused cannot act on SIGTERM. So a helper process pauses it, and resumes it when the demo ends the pause or dies.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.server import find_free_port
from openfall.workers.local.die_with_parent import die_with_parent

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "examples" / "demo.yaml"
MANIFEST = ROOT / "examples" / "demo_manifest.yaml"

ENGINES = ("engine-one", "engine-two")

START_TIMEOUT_S = 180.0
"""The engines load their models in this time on a busy machine."""
DRAIN_TIMEOUT_S = 2.0
"""Who interrupts the demo does not wait for the toy to finish its sentences: a second signal puts the jobs back."""
STOP_TIMEOUT_S = 30.0
POLL_INTERVAL_S = 0.05

PAUSE = """
import os, signal, sys

def send(number):
    for pid in map(int, sys.argv[1:]):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

send(signal.SIGSTOP)
try:
    os.write(1, b"\\n")
    sys.stdin.read()
except BrokenPipeError:
    pass  # the demo is gone already
finally:
    send(signal.SIGCONT)
"""


class FleetFailed(Exception):
    """The fleet did not start, or ended too early. The message holds the end of its log."""


@dataclass(slots=True)
class Fleet:
    """The running processes: the pid of every part (`valkey`, `engine-one`, `worker-gpu-1`)."""

    on_event: Callable[[Mapping[str, Any]], None]
    log: Path
    pids: dict[str, int] = field(default_factory=dict)
    supervisor: int | None = None
    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    def handle(self, event: Mapping[str, Any]) -> None:
        """Process one event of the supervisor."""
        if event["event"] == "ready":
            self.pids[event["what"]] = event["pid"]
        elif event["event"] == "exited":
            self.pids.pop(event["what"], None)
        elif event["event"] == "fleet_ready":
            self._ready.set()
        self.on_event(event)

    def worker_of(self, name: str) -> str | None:
        """The part that a worker is, from its name in rq (`of-POOL-HOST-PID-NONCE`)."""
        pid = name.rsplit("-", 2)[1]
        return next((what for what, known in self.pids.items() if str(known) == pid), None)

    def kill(self, *parts: str) -> None:
        """Send SIGKILL to parts of the fleet."""
        for part in parts:
            with suppress(ProcessLookupError):
                os.kill(self.pids[part], signal.SIGKILL)

    def unattended(self) -> AbstractAsyncContextManager[None]:
        """Pause the supervisor: inside the block no part that ends is started again."""
        if self.supervisor is None:
            raise FleetFailed("the fleet has no supervisor: it was not started")
        return paused(self.supervisor)

    def frozen(self, *parts: str) -> AbstractAsyncContextManager[None]:
        """Pause parts of the fleet: inside the block their calls stay in flight."""
        return paused(*(self.pids[part] for part in parts))

    async def ready(self, process: Process) -> None:
        """Wait until every part runs. Raises `FleetFailed` if the supervisor ends before that."""
        tasks = [asyncio.create_task(self._ready.wait()), asyncio.create_task(process.wait())]
        try:
            await asyncio.wait(tasks, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        if not self._ready.is_set():
            raise FleetFailed(self.log.read_text(encoding="utf-8", errors="replace").strip() or "it did not get ready")


async def poll(probe: Callable[[], Awaitable[T | None]]) -> T:
    """Call `probe` until it returns a value that is true."""
    while True:
        if value := await probe():
            return value
        await asyncio.sleep(POLL_INTERVAL_S)


@asynccontextmanager
async def paused(*pids: int) -> AsyncIterator[None]:
    """Stop processes (SIGSTOP) inside the block. They continue when the block ends, and when this process dies."""
    helper = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", PAUSE, *map(str, pids)), stdin=PIPE, stdout=PIPE, start_new_session=True
    )
    if helper.stdin is None or helper.stdout is None:
        raise FleetFailed("the helper that pauses a process has no pipes")
    try:
        await helper.stdout.readline()
        yield
    finally:
        helper.stdin.close()
        await helper.wait()


def environment(data: Path) -> dict[str, str]:
    """The environment of this process, with the variables of `demo.yaml`: a data directory and four ports."""
    port_a, port_b, gateway, sidecar = (find_free_port() for _ in range(4))
    values = {"OPENFALL_DEMO_DATA": data, "OPENFALL_ENGINE_A_PORT": port_a, "OPENFALL_ENGINE_B_PORT": port_b}
    values |= {"OPENFALL_PORT": gateway, "OPENFALL_SIDECAR_PORT": sidecar}
    return {**os.environ, **{name: str(value) for name, value in values.items()}}


@asynccontextmanager
async def running(environ: Mapping[str, str], on_event: Callable[[Mapping[str, Any]], None]) -> AsyncIterator[Fleet]:
    """Start a fleet, and stop it when the block ends. Raises `FleetFailed` if it cannot start."""
    fleet = Fleet(on_event, Path(environ["OPENFALL_DEMO_DATA"]) / "up.log")
    command = [sys.executable, "-m", "openfall.workers", "up", "--config", str(CONFIG), "--quiet"]
    with fleet.log.open("wb") as log:
        # Ctrl-C reaches only the demo, which stops the fleet in good order: the fleet has a session of its own.
        process = await asyncio.create_subprocess_exec(
            *die_with_parent(command), cwd=ROOT, env=dict(environ), stdout=PIPE, stderr=log, start_new_session=True
        )
    fleet.supervisor = process.pid
    listening = asyncio.create_task(_listen(process, fleet))
    try:
        await fleet.ready(process)
        yield fleet
    finally:
        await _stop(process)
        listening.cancel()


@asynccontextmanager
async def sidecar(environ: Mapping[str, str]) -> AsyncIterator[None]:
    """Start the sidecar of the card, and stop it when the block ends. Raises `FleetFailed` if it cannot start."""
    log = Path(environ["OPENFALL_DEMO_DATA"]) / "sidecar.log"
    command = [sys.executable, "-m", "openfall.workers.sidecar", "--manifest", str(MANIFEST), "--announce", "--quiet"]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *die_with_parent(command), cwd=ROOT, env=dict(environ), stdout=PIPE, stderr=output, start_new_session=True
        )
    try:
        if process.stdout is None or not await process.stdout.readline():
            raise FleetFailed(log.read_text(encoding="utf-8", errors="replace").strip() or "the sidecar did not start")
        yield
    finally:
        await _stop(process)


async def _listen(process: Process, fleet: Fleet) -> None:
    if process.stdout is not None:
        async for line in process.stdout:
            fleet.handle(json.loads(line))


async def _stop(process: Process) -> None:
    for number, timeout in ((signal.SIGTERM, DRAIN_TIMEOUT_S), (signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, 1.0)):
        if process.returncode is not None:
            return
        process.send_signal(number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), timeout)
