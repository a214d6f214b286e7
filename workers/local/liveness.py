"""Liveness checks: one request over one connection. A client library would take 0.2 s to load."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 2.0
"""For a response on loopback. A running server responds in milliseconds."""

_POLL_INTERVAL_S = 0.1

_MAX_RESPONSE_BYTES = 1 << 20

_LISTENS = "0A"
"""The state of such a socket in /proc/net/tcp."""


@dataclass(frozen=True, slots=True)
class ValkeyState:
    """The state of a Valkey. `loaded` is the share of its data that is in memory, 0 to 1."""

    pid: int
    loaded: float


async def fetch_valkey_state(path: Path) -> ValkeyState | None:
    """The Valkey on this unix socket, or None. It responds to INFO while it loads data, unlike to PING."""
    answer = await _ask_valkey(path, b"PING\r\nINFO server persistence\r\n")
    return None if answer is None else _state(answer)


async def rewrite_files(path: Path) -> bool:
    """Let the Valkey on this unix socket rewrite its append-only file in the background, without deleted values."""
    return "started" in (await _ask_valkey(path, b"BGREWRITEAOF\r\n") or "")


async def _ask_valkey(path: Path, commands: bytes) -> str | None:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=_MAX_RESPONSE_BYTES)
            try:
                writer.write(commands + b"QUIT\r\n")
                return (await reader.read(-1)).decode(errors="replace")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None


def _state(answer: str) -> ValkeyState | None:
    info = dict(line.split(":", 1) for line in answer.splitlines() if ":" in line)
    if not info.get("process_id", "").isdigit():
        return None
    pid = int(info["process_id"])
    if info.get("loading") == "0" and "+PONG" in answer:
        return ValkeyState(pid, 1.0)
    return ValkeyState(pid, min(0.99, float(info.get("loading_loaded_perc", "0").rstrip("%")) / 100))


async def get(port: int, path: str) -> tuple[int, bytes] | None:
    """Status and body of a GET on loopback; None without a response."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_MAX_RESPONSE_BYTES)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    status_line = head.split(maxsplit=2)
    return (int(status_line[1]), body) if len(status_line) > 1 and status_line[1].isdigit() else None


def port_taken(port: int) -> bool:
    """Whether a process listens on that port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


async def port_released(port: int, timeout_s: float) -> bool:
    """Whether no process listens on that port, within the time."""
    deadline = time.monotonic() + timeout_s
    while (taken := port_taken(port)) and time.monotonic() < deadline:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(_POLL_INTERVAL_S)
    return not taken


def describe_port_holder(port: int) -> str:
    """The process that listens on a port of IPv4, with its folder, where the system shows it to this user."""
    rows: list[list[str]] = []
    with suppress(OSError):
        rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    sockets = {
        f"socket:[{row[9]}]" for row in rows if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port
    }
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        with suppress(OSError):  # it has ended, or belongs to another user
            if any(str(file.readlink()) in sockets for file in (process / "fd").iterdir()):
                return f"process {process.name} in {(process / 'cwd').readlink()}"
    return "another program, or `openfall up` in another folder"
