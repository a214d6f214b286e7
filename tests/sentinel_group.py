"""Three real Sentinels, a primary and two replicas, to be killed and frozen."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from benchmarks.server import find_free_port
from openfall.router_core.catalog.redis_server import RedisServer
from tests.conftest import SERVER

SERVICE = "jobs"
SENTINELS = 3
SERVERS = 3
ANSWERS_WITHIN = 60.0
FAILS_OVER_WITHIN = 60.0
DOWN_AFTER_MS = 500

_FAST = ("info-period", "200", "ping-period", "100", "ask-period", "100", "publish-period", "100")


@dataclass
class SentinelGroup:
    """The processes by port. `options` are of every server."""

    home: Path
    options: tuple[str, ...] = ()
    servers: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    sentinels: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> SentinelGroup:
        """Start everything, and return when every Sentinel knows every server and every other Sentinel."""
        ports = [find_free_port() for _ in range(SERVERS)]
        self.start_server(ports[0])
        for port in ports[1:]:
            self.start_server(port, replica_of=ports[0])
        for _ in range(SENTINELS):
            self._start_sentinel(find_free_port(), ports[0])
        for port in self.sentinels:
            _until(lambda port=port: self._knows_all(port), ANSWERS_WITHIN, "the Sentinels to know all")
        return self

    @property
    def server(self) -> RedisServer:
        return RedisServer(sentinels=tuple(f"127.0.0.1:{port}" for port in self.sentinels), service=SERVICE)

    def primary(self) -> int:
        """The port of the primary, as the Sentinel with the newest view says."""

        def view(client: Any) -> tuple[int, int]:
            epoch = client.sentinel_master(SERVICE)["config-epoch"]
            return epoch, client.sentinel_get_master_addr_by_name(SERVICE)[1]

        views = filter(None, (self._ask(port, view) for port in self.sentinels))
        return int(max(views)[1])

    def client(self, port: int, timeout: float = 1.0) -> redis.Redis:
        return redis.Redis(port=port, decode_responses=True, socket_timeout=timeout)

    def start_server(self, port: int, replica_of: int | None = None) -> None:
        """Start a server on what is on its disk."""
        directory = self.home / str(port)
        directory.mkdir(exist_ok=True)
        argv = [
            SERVER, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", "",
            "--appendonly", "yes",
            "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", "--logfile", str(directory / "log"),
            *self.options, *(("--replicaof", f"127.0.0.1 {replica_of}") if replica_of else ()),
        ]  # fmt: skip
        self.servers[port] = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _until(lambda: self._answers(port, replica=replica_of is not None), ANSWERS_WITHIN, f"the server at {port}")

    def kill(self, port: int) -> None:
        """End a server at once, as a crash would."""
        self.servers[port].kill()
        self.servers.pop(port).wait()

    def send(self, port: int, number: signal.Signals) -> None:
        self.servers[port].send_signal(number)

    def wait_for_failover(self, old: int) -> int:
        """The port of the new primary, once it takes writes."""
        _until(lambda: self.primary() != old and self._is_master(self.primary()), FAILS_OVER_WITHIN, "a failover")
        return self.primary()

    def wait_for_replicas(self, count: int) -> None:
        """Return when the primary has this many replicas that are in step with it."""

        def connected() -> bool:
            with self.client(self.primary()) as client:
                return int(client.info("replication")["connected_slaves"]) >= count

        _until(connected, FAILS_OVER_WITHIN, f"{count} replicas")

    def close(self) -> None:
        for process in (*self.sentinels.values(), *self.servers.values()):
            process.kill()
            process.wait()

    def _start_sentinel(self, port: int, primary: int) -> None:
        file = self.home / f"sentinel-{port}.conf"
        file.write_text(
            f'port {port}\nbind 127.0.0.1\ndir "{self.home}"\nlogfile "{file}.log"\n'
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\nsentinel failover-timeout {SERVICE} 3000\n"
        )
        argv = [SERVER, str(file), "--sentinel"]
        self.sentinels[port] = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _until(lambda: self._master(port) is not None, ANSWERS_WITHIN, f"the Sentinel at {port}")
        with self.client(port) as client:
            client.execute_command("SENTINEL DEBUG", *_FAST)

    def _master(self, sentinel: int) -> dict[str, Any] | None:
        view: dict[str, Any] | None = self._ask(sentinel, lambda client: client.sentinel_master(SERVICE))
        return view

    def _knows_all(self, sentinel: int) -> bool:
        view = self._master(sentinel)
        return bool(view) and view["num-other-sentinels"] == SENTINELS - 1 and view["num-slaves"] == SERVERS - 1

    def _answers(self, port: int, replica: bool) -> bool:
        info = self._ask(port, lambda client: client.info("replication"))
        return bool(info) and (not replica or info.get("master_link_status") == "up")

    def _is_master(self, port: int) -> bool:
        return bool(self._ask(port, lambda client: client.info("replication")["role"] == "master"))

    def _ask(self, port: int, question: Callable[[Any], Any]) -> Any:
        """`question(client)`, or None while nothing answers at the port."""
        with self.client(port) as client:
            try:
                return question(client)
            except redis.RedisError:
                return None


def _until(probe: Callable[[], Any], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.02)
