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
from tests.valkey_server import SERVER, kill_server, start_server

SERVICE = "jobs"
SENTINELS = 3
SERVERS = 3
ANSWERS_WITHIN = 60.0
FAILS_OVER_WITHIN = 60.0
DOWN_AFTER_MS = 1000

_FAST = ("info-period", "200", "ping-period", "400", "ask-period", "100", "publish-period", "100")
"""Sentinel promotes a replica only if its INFO is younger than 5 ping periods. While the primary is down it reads INFO
once a second. With a ping period of 100 ms half of the failovers had no good replica; the next one began 6 s later."""
_NEVER_TILT = ("tilt-trigger", "600000")
"""A Sentinel that had no processor for two seconds does nothing for thirty. On a busy machine it would."""


@dataclass
class SentinelGroup:
    """The processes by port. `options` are of every server."""

    home: Path
    options: tuple[str, ...] = ()
    servers: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    sentinels: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    lone: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

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

        return max(self._views())[1]

    def _views(self) -> list[tuple[int, int, bool]]:
        """What each Sentinel knows: the configuration epoch, the port of the primary, whether a failover goes on."""

        def view(client: Any) -> tuple[int, int, bool]:
            state = client.sentinel_master(SERVICE)
            port = int(client.sentinel_get_master_addr_by_name(SERVICE)[1])
            return int(state["config-epoch"]), port, "failover_in_progress" in state["flags"]

        return [answer for port in self.sentinels if (answer := self._ask(port, view))]

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
        self.servers[port] = start_server(argv)
        _until(lambda: self._answers(port, replica=replica_of is not None), ANSWERS_WITHIN, f"the server at {port}")

    def kill(self, port: int) -> None:
        """End a server at once, as a crash would."""
        kill_server(self.servers.pop(port))

    def send(self, port: int, number: signal.Signals) -> None:
        self.servers[port].send_signal(number)

    def stop_lone_sentinel(self, port: int) -> None:
        kill_server(self.lone.pop(port))

    def wait_for_failover(self, old: int) -> int:
        """The port of the new primary, once it takes writes."""
        _until(lambda: self.primary() != old and self._is_master(self.primary()), FAILS_OVER_WITHIN, "a failover")
        return self.primary()

    def wait_for_replicas(self, count: int) -> None:
        """Return when no failover goes on, every Sentinel names the same primary, and it has this many replicas.

        Each server is pointed at the primary, as an operator points servers in a circle. Sentinel promotes none of a
        circle: all of them have been without a primary for too long.
        """

        def connected() -> bool:
            primary = self.primary()
            for port in self.servers:
                replication = self._ask(port, lambda client: client.info("replication")) or {}
                if port == primary and replication.get("role") != "master":
                    self._ask(port, lambda client: client.replicaof("NO", "ONE"))
                elif port != primary and replication.get("master_port") != primary:
                    self._ask(port, lambda client, primary=primary: client.replicaof("127.0.0.1", primary))
            replication = self._ask(primary, lambda client: client.info("replication")) or {}
            connected = replication.get("role") == "master" and replication.get("connected_slaves", 0) >= count
            views = set(self._views())
            return connected and len(views) == 1 and not views.pop()[2]

        _until(connected, FAILS_OVER_WITHIN, f"{count} replicas")

    def close(self) -> None:
        for process in (*self.lone.values(), *self.sentinels.values(), *self.servers.values()):
            kill_server(process)

    def _start_sentinel(self, port: int, primary: int) -> None:
        settings = f"down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}", f"failover-timeout {SERVICE} 3000"
        self.sentinels[port] = self._sentinel(port, f"monitor {SERVICE} 127.0.0.1 {primary} 2", *settings)
        _until(lambda: self._master(port) is not None, ANSWERS_WITHIN, f"the Sentinel at {port}")
        with self.client(port) as client:
            client.execute_command("SENTINEL DEBUG", *_FAST, *_NEVER_TILT)

    def start_lone_sentinel(self, primary: int, epoch: int) -> int:
        """Start a Sentinel of the service `alone` that never fails over. Its port."""
        port = find_free_port()
        self.lone[port] = self._sentinel(port, f"monitor alone 127.0.0.1 {primary} 9", f"config-epoch alone {epoch}")
        _until(lambda: self._ask(port, lambda client: client.sentinel_master("alone")), ANSWERS_WITHIN, f"{port}")
        return port

    def _sentinel(self, port: int, *settings: str) -> subprocess.Popen[bytes]:
        file = self.home / f"sentinel-{port}.conf"
        lines = f"port {port}", "bind 127.0.0.1", f'dir "{self.home}"', f'logfile "{file}.log"'
        file.write_text("\n".join([*lines, *(f"sentinel {setting}" for setting in settings), ""]))
        argv = [SERVER, str(file), "--sentinel"]
        return start_server(argv)

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
