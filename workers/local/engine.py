"""The embedded engine, seen from its parent: start or adopt it, wait until it is ready, stop it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from openfall.workers.local.child import Child, LocalServer, spawn
from openfall.workers.local.engine_process import PREFIX
from openfall.workers.local.errors import LocalError
from openfall.workers.local.liveness import get
from openfall.workers.local.locks import one_at_a_time
from openfall.workers.local.pidfile import claim_record, read_record, write_record
from openfall.workers.local.ports import describe_port_holder, port_released
from openfall.workers.local.private_files import make_private

_POLL_INTERVAL_S = 0.1
_GRACE_S = 5.0
_START_TIMEOUT_S = 120.0
"""It covers loading the model."""
PORT_RELEASE_S = 3.0
"""An engine of ours that has just ended may hold its port for this long: its threads end after it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """The options of an engine. `name` is that of its backend, and fit for a file. `ctx` is in tokens and for one
    request; the engine holds `parallel` times as many.

    `aliases` are the names it serves (`name` if there are none). `notice` is shown at its first start, such as the
    licence of its model. `port_setting` is where its port is set, in words.
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
    port_setting: str = "the `url` of its backend in openfall.yaml"
    embeds: bool = False

    @property
    def label(self) -> str:
        """The name of its files and events: `engine-NAME`, but never `engine-engine-a`."""
        return self.name if self.name.startswith("engine") else f"engine-{self.name}"

    def names(self) -> tuple[str, ...]:
        return self.aliases or (self.name,)

    def argv(self) -> list[str]:
        """The command line of its process."""
        argv = [sys.executable, "-m", "openfall.workers.local.engine_process", "--model", str(self.model.resolve())]
        argv += ["--port", str(self.port), "--ctx-size", str(self.ctx * self.parallel)]
        argv += ["--parallel", str(self.parallel)]
        for alias in self.names():
            argv += ["--alias", alias]
        if self.threads is not None:
            argv += ["--threads", str(self.threads)]
        if self.gpu_layers is not None:
            argv += ["--n-gpu-layers", str(self.gpu_layers)]
        return [*argv, "--embeddings"] if self.embeds else argv


async def start_engine(spec: EngineSpec, data: Path) -> LocalServer:
    """A ready engine: started, or adopted if this very one already serves the port. `LocalError` if there is none."""
    data = make_private(data)
    path = data / f"{spec.label}.pid"
    options = _options(spec)
    async with one_at_a_time(data / f"{spec.label}.lock", _START_TIMEOUT_S):
        child = await _running(spec, data, options)
        adopted = child is not None
        child = child or await _spawn(spec, data, options)
        async with nullcontext() if adopted else child.stopped_on_failure(_GRACE_S):
            await _ready(spec, child, time.monotonic() + _START_TIMEOUT_S)
            ours = claim_record(path, child.identity, options)
    url = f"http://127.0.0.1:{spec.port}"
    return LocalServer(url=url, child=child, adopted=adopted, ours=ours, grace=_GRACE_S, files=(path,))


def _options(spec: EngineSpec) -> dict[str, Any]:
    options = asdict(spec) | {"model": str(spec.model.resolve()), "aliases": list(spec.names())}
    del options["notice"]
    return options


def _log(spec: EngineSpec, data: Path) -> Path:
    return data / "log" / f"{spec.label}.log"


async def _running(spec: EngineSpec, data: Path, options: dict[str, Any]) -> Child | None:
    """The engine of an earlier start with the same options. One with others is stopped, unless it has an owner."""
    record = read_record(data / f"{spec.label}.pid")
    if record is None or not record.child.alive():
        return None
    child = Child(identity=record.child, log=_log(spec, data))
    if record.options == options and await _has_our_aliases(spec):
        return child
    if not record.orphaned():
        raise LocalError(
            f"engine {spec.name} runs with other options (pid {child.pid}, started by pid {record.owner.pid}). "
            f"Stop it first: kill {record.owner.pid}"
        )
    await child.stop(_GRACE_S)
    return None


async def _has_our_aliases(spec: EngineSpec) -> bool:
    """Whether the server of the port has our alias. One that loads cannot say yet: the caller waits for it later."""
    answer = await get(spec.port, "/v1/models")
    if answer is None or answer[0] == 503:
        return answer is not None
    try:
        served = {name for model in json.loads(answer[1])["data"] for name in model.get("aliases") or [model["id"]]}
    except (ValueError, KeyError, TypeError):
        return False
    return served >= set(spec.names())


async def describe_port_conflict(spec: EngineSpec, data: Path) -> str:
    """Which process has the port of this engine, and the remedy. Empty if the port is free, or belongs to a recorded
    engine of this directory: that one is adopted or replaced."""
    record = read_record(data / f"{spec.label}.pid")
    if record is not None and record.child.alive():
        return ""
    if await port_released(spec.port, 0 if record is None else PORT_RELEASE_S):
        return ""
    return (
        f"engine {spec.name}: port {spec.port} is taken by {describe_port_holder(spec.port)}. Stop it (an "
        f"`openfall up`: Ctrl-C there), or give the engine another port: {spec.port_setting}. To use an "
        "`openfall up` of another folder from here, set the variable that it names when everything runs."
    )


async def _spawn(spec: EngineSpec, data: Path, options: dict[str, Any]) -> Child:
    if conflict := await describe_port_conflict(spec, data):
        raise LocalError(conflict)
    child = await spawn(spec.argv(), _log(spec, data))
    write_record(data / f"{spec.label}.pid", child.identity, options)
    return child


async def _ready(spec: EngineSpec, child: Child, deadline: float) -> None:
    while time.monotonic() < deadline:
        if not child.running():
            raise LocalError(describe_end(spec, await child.wait(), child))
        answer = await get(spec.port, "/health")
        if answer and answer[0] == 200:
            return
        await asyncio.sleep(_POLL_INTERVAL_S)
    raise LocalError(f"engine {spec.name}: not ready in time. See {child.log}")


def describe_end(spec: EngineSpec, code: int | None, child: Child) -> str:
    """The one line that the engine wrote, or else the end of its log. A thread of the library may write the beginning
    of another line before it."""
    for line in child.last_lines(200):
        _, prefix, message = line.partition(PREFIX)
        if prefix:
            return f"engine {spec.name}: {message} (log: {child.log})"
    return f"engine {spec.name} ended while starting (exit status {code}). {child.end_of_log()}"
