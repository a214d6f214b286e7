"""Real Valkey servers for the tests: each ends with the process that started it, and can be killed before that."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis

from benchmarks.server import VALKEY_SERVER
from openfall.workers.local.die_with_parent import die_with_parent
from tests.lasting_thread import LASTING_THREAD

SERVER = os.environ.get("OPENFALL_TEST_SERVER") or VALKEY_SERVER
"""The server under the tests: the embedded Valkey, or another one by its path (docs/compatibility.md)."""

MAX_MEMORY_BYTES = 4 * 2**30
"""The `maxmemory` of each server, unless a test sets another."""

STARTS_WITHIN = 60.0
"""Seconds that a server may take to answer on a busy machine."""


def start_server(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """A server that ends with this process, which pytest-xdist kills after Ctrl-C if a test does not end in time.

    It leads a process group: the children that it forks to write its files are in it.
    """

    def start() -> subprocess.Popen[bytes]:
        silent = subprocess.DEVNULL
        return subprocess.Popen(die_with_parent(argv), stdout=silent, stderr=silent, process_group=0)

    return LASTING_THREAD.submit(start).result()


def kill_server(process: subprocess.Popen[bytes]) -> None:
    """End a server, and a child that rewrites its file: a directory into which one writes cannot be removed."""
    with suppress(ProcessLookupError):  # it has ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@dataclass
class Server:
    """One valkey-server on a unix socket, with the durability settings of the embedded one. It can be killed."""

    home: Path
    options: tuple[str, ...] = ()
    program: str = SERVER
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def socket(self) -> Path:
        return self.home / "valkey.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> Server:
        """Start it, and return when it answers. What an earlier process of it wrote to its disk is there again."""
        self.process = start_server(
            [
                self.program, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.home),
                "--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
                "--stream-node-max-bytes", "1024", "--hash-max-listpack-entries", "64",
                "--maxmemory", str(MAX_MEMORY_BYTES), "--logfile", str(self.home / "valkey.log"), *self.options,
            ]
        )  # fmt: skip
        until = time.monotonic() + STARTS_WITHIN
        while not self._answers():
            if time.monotonic() > until or self.process.poll() is not None:
                self.kill()
                raise RuntimeError(f"valkey-server did not start: see {self.home / 'valkey.log'}")
            time.sleep(0.01)
        return self

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self.process is not None:
            kill_server(self.process)
            self.process = None

    def _answers(self) -> bool:
        client = redis.Redis(unix_socket_path=str(self.socket))
        try:
            return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False
        finally:
            client.close()


@contextmanager
def temporary_server(*options: str) -> Iterator[Server]:
    """A server whose directory is removed with it. A unix socket's path must be short, so it does not lie below
    pytest's directory."""
    with tempfile.TemporaryDirectory(prefix="of-") as home:
        server = Server(Path(home), options).start()
        try:
            yield server
        finally:
            server.kill()
