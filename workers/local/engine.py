"""The embedded engine as its parent sees it: started or adopted, waited for until it is ready, stopped."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from openfall.workers.local.child import Child, spawn
from openfall.workers.local.engine_process import PREFIX
from openfall.workers.local.errors import LocalError
from openfall.workers.local.liveness import get, port_taken
from openfall.workers.local.locks import one_at_a_time
from openfall.workers.local.pidfile import make_private, read_record, write_record

_POLL = 0.1
_GRACE = 5.0
_LETTING_GO = 3.0
"""Seconds for which an engine of ours that has just ended may hold its port: its threads end after it does."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """Which engine is wanted. `ctx` is in tokens and for one request; the engine holds `parallel` times as many.

    `aliases` are the names it answers to (`name` if there are none). `notice` is said when it is first started, such as
    the licence of its model.
    """

    name: str
    model: Path
    port: int
    aliases: tuple[str, ...] = ()
    ctx: int = 4096
    parallel: int = 1
    threads: int | None = None
    gpu_layers: int | None = None
    notice: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise LocalError(
                f"engine name {self.name!r}: only a-z, 0-9, - and _, at most 63, beginning with a letter or digit"
            )

    @property
    def label(self) -> str:
        """What its files and events are called: `engine-NAME`, and not `engine-engine-a`."""
        return self.name if self.name.startswith("engine") else f"engine-{self.name}"

    def names(self) -> tuple[str, ...]:
        return self.aliases or (self.name,)

    def argv(self) -> list[str]:
        """The command line of its process."""
        words = [sys.executable, "-m", "openfall.workers.local.engine_process", "--model", str(self.model.resolve())]
        words += [
            "--port",
            str(self.port),
            "--ctx-size",
            str(self.ctx * self.parallel),
            "--parallel",
            str(self.parallel),
        ]
        for alias in self.names():
            words += ["--alias", alias]
        if self.threads is not None:
            words += ["--threads", str(self.threads)]
        if self.gpu_layers is not None:
            words += ["--n-gpu-layers", str(self.gpu_layers)]
        return words


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine that is ready. `ours` says whether we stop it."""

    url: str
    child: Child
    record: Path
    adopted: bool
    ours: bool

    async def stop(self) -> None:
        """Stop it if it is ours: SIGTERM, SIGKILL after 5 s."""
        if self.ours:
            await self.child.stop(_GRACE)
            self.record.unlink(missing_ok=True)


async def start_engine(spec: EngineSpec, data: Path, *, patience: float = 120.0) -> Engine:
    """The engine, ready: started, or adopted if this very one already serves the port. `LocalError` says why not.

    `patience` in seconds covers loading the model.
    """
    data = make_private(data)
    path = data / f"{spec.label}.pid"
    asked = _asked(spec)
    async with one_at_a_time(data / f"{spec.label}.lock", patience):
        child = await _running(spec, data, asked)
        adopted = child is not None
        if child is None:
            child = await _spawn(spec, data, asked)
        try:
            await _ready(spec, child, time.monotonic() + patience)
        except BaseException:
            if not adopted:
                await child.stop(_GRACE)
            raise
        record = read_record(path)
        ours = record is None or record.orphaned()
        if ours:
            write_record(path, child.identity, asked)
    return Engine(url=f"http://127.0.0.1:{spec.port}", child=child, record=path, adopted=adopted, ours=ours)


def _asked(spec: EngineSpec) -> dict[str, Any]:
    told = asdict(spec) | {"model": str(spec.model.resolve()), "aliases": list(spec.names())}
    del told["notice"]
    return told


def _log(spec: EngineSpec, data: Path) -> Path:
    return data / "log" / f"{spec.label}.log"


async def _running(spec: EngineSpec, data: Path, asked: dict[str, Any]) -> Child | None:
    """Ours from an earlier start, if it has the same options; with others it is stopped, unless it has an owner."""
    record = read_record(data / f"{spec.label}.pid")
    if record is None or not record.child.alive():
        return None
    child = Child(identity=record.child, log=_log(spec, data))
    if record.asked == asked and await _is_ours(spec):
        return child
    if not record.orphaned():
        raise LocalError(
            f"engine {spec.name} runs with other options (pid {child.pid}, started by pid {record.owner.pid}). "
            f"Stop it first: kill {record.owner.pid}"
        )
    await child.stop(_GRACE)
    return None


async def _is_ours(spec: EngineSpec) -> bool:
    """Whether what serves the port says our alias. One that loads does not say yet: it is waited for later."""
    answer = await get(spec.port, "/v1/models")
    if answer is None or answer[0] == 503:
        return answer is not None
    try:
        served = {name for model in json.loads(answer[1])["data"] for name in model.get("aliases") or [model["id"]]}
    except (ValueError, KeyError, TypeError):
        return False
    return served >= set(spec.names())


async def _spawn(spec: EngineSpec, data: Path, asked: dict[str, Any]) -> Child:
    path = data / f"{spec.label}.pid"
    deadline = time.monotonic() + (_LETTING_GO if path.exists() else 0)
    while port_taken(spec.port) and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells us
        await asyncio.sleep(_POLL)
    if port_taken(spec.port):
        raise LocalError(
            f"engine {spec.name}: port {spec.port} is taken by another program. "
            "Stop it, or give the engine another port."
        )
    child = await spawn(spec.argv(), _log(spec, data))
    write_record(path, child.identity, asked)
    return child


async def _ready(spec: EngineSpec, child: Child, deadline: float) -> None:
    while time.monotonic() < deadline:
        if not child.running():
            raise LocalError(_why_ended(spec, await child.wait(), child))
        answer = await get(spec.port, "/health")
        if answer and answer[0] == 200:
            return
        await asyncio.sleep(_POLL)
    raise LocalError(f"engine {spec.name}: not ready in time. See {child.log}")


def _why_ended(spec: EngineSpec, code: int | None, child: Child) -> str:
    """Its own line if it left one, else the end of its log."""
    said = child.last_lines(200)
    for line in said:
        if line.startswith(PREFIX):
            return f"engine {spec.name}: {line.removeprefix(PREFIX)} (log: {child.log})"
    text = "\n  ".join(["", *said[-5:]])
    return f"engine {spec.name} ended while starting (exit status {code}). The end of {child.log}:{text}"
