"""The three kinds of parts that a fleet has: how each is started, when it counts as ready, when it is given up."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from openfall.workers.local.child import Child, spawn
from openfall.workers.local.engine import EngineSpec, start_engine
from openfall.workers.local.errors import LocalError
from openfall.workers.local.valkey import ValkeySpec, start_valkey

Report = Callable[[dict[str, Any]], None]
"""Is told what happens, one JSON object at a time; see `fleet`. It must not block."""

_WRONG_USAGE = 2
_CRASHES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """`procs` processes of one pool, each running `argv`.

    With `awaits_ready` one counts as ready when it has written {"event": "ready"} on its standard output; otherwise as
    soon as it runs.
    """

    pool: str
    argv: tuple[str, ...]
    procs: int = 1
    awaits_ready: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A part that is ready. `told` goes into its `ready` event; `stop` is given the event that asks for haste."""

    child: Child
    told: Mapping[str, Any]
    stop: Callable[[asyncio.Event], Awaitable[object]]


class Service(Protocol):
    """Something that a keeper keeps running.

    `final` are exit statuses after which it is not started again, `crashes` how many ends within a minute are borne
    (None: any number).
    """

    what: str
    notice: str
    final: frozenset[int]
    crashes: int | None

    async def start(self, report: Report) -> Started:
        """Start it and wait until it is ready; `LocalError` if it cannot be. Cancelled, it leaves nothing behind."""
        ...


class ValkeyService:
    """Kept running whatever happens: without it nothing is. Its URL goes into `environment` as REDIS_URL."""

    what = "valkey"
    notice = ""
    final = frozenset[int]()
    crashes: int | None = None

    def __init__(self, spec: ValkeySpec, environment: dict[str, str]) -> None:
        self.spec, self.environment = spec, environment

    async def start(self, report: Report) -> Started:
        def loading(share: float) -> None:
            report({"event": "loading", "what": self.what, "share": round(share, 2)})

        valkey = await start_valkey(self.spec, loading=loading)
        self.environment["REDIS_URL"] = valkey.url
        self.notice = valkey.remark
        told = {"socket": str(valkey.socket), "adopted": valkey.adopted}
        return Started(child=valkey.child, told=told, stop=lambda hurry: valkey.stop())


class EngineService:
    """Started again after a crash, but given up after three within a minute: a breaker keeps jobs away from it."""

    final = frozenset[int]()
    crashes: int | None = _CRASHES

    def __init__(self, spec: EngineSpec, data: Path) -> None:
        self.spec, self.data = spec, data
        self.what, self.notice = spec.label, spec.notice

    async def start(self, report: Report) -> Started:
        engine = await start_engine(self.spec, self.data)
        told = {"url": engine.url, "adopted": engine.adopted}
        return Started(child=engine.child, told=told, stop=lambda hurry: engine.stop())


LAST_WORDS = 1.0
"""Seconds for what a worker wrote before its end: something that it has started may keep its output open for longer."""


class WorkerService:
    """Started again after any crash; not after it ended by itself (0) or refused its command line (2)."""

    notice = ""
    final = frozenset({0, _WRONG_USAGE})
    crashes: int | None = None

    def __init__(self, spec: WorkerSpec, number: int, data: Path, environment: Mapping[str, str], grace: float) -> None:
        self.spec, self.environment, self.grace = spec, environment, grace
        self.what = f"worker-{spec.pool}-{number}"
        self.log = data / "log" / f"{self.what}.log"
        self.listening: asyncio.Task[None] | None = None

    async def start(self, report: Report) -> Started:
        child = await spawn(self.spec.argv, self.log, environment=self.environment, stdout=PIPE)
        ready = asyncio.Event()
        self.listening = asyncio.create_task(self._listen(child, report, ready))
        try:
            if self.spec.awaits_ready:
                await self._ready(child, ready)
        except BaseException:
            await child.stop(self.grace)
            raise
        return Started(child=child, told={}, stop=lambda hurry: self._stop(child, hurry))

    async def _stop(self, child: Child, hurry: asyncio.Event | None) -> int | None:
        """Its end is told after its last words: a process can be gone before all that it wrote has been read."""
        status = await child.stop(self.grace, hurry)
        if self.listening is not None:
            await asyncio.wait([self.listening], timeout=LAST_WORDS)
        return status

    async def _ready(self, child: Child, ready: asyncio.Event) -> None:
        waits = [asyncio.create_task(ready.wait()), asyncio.create_task(child.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not ready.is_set():
            text = "\n  ".join(["", *child.last_lines()])
            raise LocalError(f"{self.what} ended while starting (exit status {await child.wait()}). {self.log}:{text}")

    async def _listen(self, child: Child, report: Report, ready: asyncio.Event) -> None:
        """Pass on the events that it writes; what is none goes into its log."""
        assert child.process is not None
        assert child.process.stdout is not None
        while True:
            try:
                line = await child.process.stdout.readline()
            except ValueError:  # longer than 64 KiB: dropped by the reader
                continue
            if not line:
                return
            event = _event(line)
            if event is None:
                child.note(line)
            elif event["event"] == "ready":
                ready.set()
                if not self.spec.awaits_ready:
                    report({**event, "what": self.what})
            else:
                report({**event, "what": self.what})


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) and "event" in told else None
