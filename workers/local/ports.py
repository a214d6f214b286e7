"""The ports of this machine: whether one is taken, and by which process."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from contextlib import suppress
from pathlib import Path

_POLL_INTERVAL_S = 0.1

_LISTENS = "0A"
"""The state of such a socket in /proc/net/tcp."""


def port_taken(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a process listens on that port of an address of this machine; `""`: of any."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
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
    """The process that listens on a port, with its folder, where the system shows it to this user."""
    rows: list[list[str]] = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            rows += [line.split() for line in Path(table).read_text(encoding="ascii").splitlines()[1:]]
    sockets = {
        f"socket:[{row[9]}]" for row in rows if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port
    }
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        with suppress(OSError):  # it has ended, or belongs to another user
            if any(str(file.readlink()) in sockets for file in (process / "fd").iterdir()):
                return f"process {process.name} in {(process / 'cwd').readlink()}"
    return "another program, or `openfall up` in another folder"
