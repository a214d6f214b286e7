"""The three kinds of supervised services: how each starts, and when it is ready."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openfall.workers.local.child import OUTPUT_TIMEOUT_S, Child, spawn
from openfall.workers.local.engine import EngineSpec, describe_port_conflict, start_engine
from openfall.workers.local.errors import LocalError
from openfall.workers.local.liveness import rewrite_files
from openfall.workers.local.ports import describe_port_holder, port_taken
from openfall.workers.local.private_files import write_private
from openfall.workers.local.restarter import MAX_CRASHES, Report, Service, Started
from openfall.workers.local.valkey import Valkey, start_valkey

_USAGE_ERROR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """`procs` processes of one pool, each running `argv`. A process is ready when it has written {"event": "ready"} on
    its standard output."""

    pool: str
    argv: tuple[str, ...]
    procs: int = 1
    optional: bool = False
    """The others run without it, if it cannot start."""
    label: str = ""
    """Its name, if it is not that of its pool: the gateway."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """For its event `ready`."""
    addresses: tuple[str, ...] = ()
    """Where it listens, as HOST:PORT."""
    address_setting: str = ""
    """Where its addresses are set, in words."""


FIRST_REWRITE_S, REWRITE_INTERVAL_S = 60.0, 6 * 3600.0
"""When Valkey rewrites its append-only file. Otherwise that keeps the prompts of answered jobs until it has doubled."""


class ValkeyService(Service):
    """Valkey. It is restarted always, since nothing works without it. Its URL goes into `environment` as REDIS_URL."""

    what = "valkey"

    def __init__(self, data: Path, environment: dict[str, str], first_rewrite_s: float = FIRST_REWRITE_S) -> None:
        self.data, self.environment, self.first_rewrite_s = data, environment, first_rewrite_s

    async def start(self, report: Report) -> Started:
        def loading(share: float) -> None:
            report({"event": "loading", "what": self.what, "share": round(share, 2)})

        valkey = await start_valkey(self.data, on_loading=loading)
        self.environment["REDIS_URL"] = valkey.url
        self.notice = valkey.remark
        fields = {"socket": str(valkey.socket), "adopted": valkey.adopted}
        rewriting = asyncio.create_task(self._rewrite_files(valkey), name="rewrite the append-only file")

        async def stop(_stop_now: asyncio.Event) -> None:
            rewriting.cancel()
            await valkey.stop()

        return Started(child=valkey.child, fields=fields, stop=stop)

    async def _rewrite_files(self, valkey: Valkey) -> None:
        await asyncio.sleep(self.first_rewrite_s)
        while valkey.child.running():
            await rewrite_files(valkey.socket)
            await asyncio.sleep(REWRITE_INTERVAL_S)


class EngineService(Service):
    """An engine. It is restarted after up to `MAX_CRASHES` crashes a minute: a breaker keeps jobs away from it."""

    crashes = MAX_CRASHES

    def __init__(self, spec: EngineSpec, data: Path) -> None:
        self.spec, self.data = spec, data
        self.what, self.notice = spec.label, spec.notice
        self._starts = 0

    async def describe_port_conflict(self) -> str:
        return await describe_port_conflict(self.spec, self.data)

    async def start(self, report: Report) -> Started:
        engine = await start_engine(self.spec, self.data)
        write_private(self.data / f"{self.spec.name}.restarts", f"{self._starts}\n")  # read by the HTTP gateway
        self._starts += 1
        fields = {"url": engine.url, "adopted": engine.adopted}
        return Started(child=engine.child, fields=fields, stop=lambda stop_now: engine.stop())


class WorkerService(Service):
    """A worker. It is restarted after any crash, but not after exit status 0 or 2 (it refused its command line)."""

    final = frozenset({0, _USAGE_ERROR})

    def __init__(self, spec: WorkerSpec, number: int, data: Path, environment: Mapping[str, str], grace: float) -> None:
        self.spec, self.environment, self.grace = spec, environment, grace
        self.what, self.optional = spec.label or f"worker-{spec.pool}-{number}", spec.optional
        self.log = data / "log" / f"{self.what}.log"
        self.listening: asyncio.Task[None] | None = None

    async def describe_port_conflict(self) -> str:
        return "\n".join(
            f"{self.what}: {address} is taken by {describe_port_holder(port)}. Stop it, or choose another address: "
            f"{self.spec.address_setting}."
            for address in self.spec.addresses
            if port_taken(port := int(address.rpartition(":")[2]), _host(address))
        )

    async def start(self, report: Report) -> Started:
        child = await spawn(self.spec.argv, self.log, environment=self.environment, events=True)
        ready = asyncio.Event()
        self.listening = asyncio.create_task(self._listen(child, report, ready))
        async with child.stopped_on_failure(self.grace):
            await self._ready(child, ready)
        return Started(child=child, fields=self.spec.fields, stop=lambda stop_now: self._stop(child, stop_now))

    async def _stop(self, child: Child, stop_now: asyncio.Event | None) -> int | None:
        """Stop it, then read its output to the end: a process can end before all of its output has been read."""
        status = await child.stop(self.grace, stop_now)
        if self.listening is not None:
            await asyncio.wait([self.listening], timeout=OUTPUT_TIMEOUT_S)
        return status

    async def _ready(self, child: Child, ready: asyncio.Event) -> None:
        tasks = [asyncio.create_task(ready.wait()), asyncio.create_task(child.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        if not ready.is_set():
            code = await child.wait()
            raise LocalError(f"{self.what} ended while starting (exit status {code}). {child.end_of_log()}")

    async def _listen(self, child: Child, report: Report, ready: asyncio.Event) -> None:
        """Report the events that it writes. Any other line goes into its log."""
        stdout = child.process.stdout if child.process else None
        if stdout is None or child.output is None:
            raise LocalError(f"{self.what} has no standard output to read events from")
        while True:
            try:
                line = await stdout.readline()
            except ValueError:  # longer than 64 KiB: the reader drops it
                continue
            if not line:
                return
            event = _event(line)
            if event is None:
                child.output.write(line)
            elif event["event"] == "ready":
                ready.set()
            else:
                report({**event, "what": self.what})


def _host(address: str) -> str:
    host = address.rpartition(":")[0].strip("[]")
    return "" if host == "*" else host


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None
