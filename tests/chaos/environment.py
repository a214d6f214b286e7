"""The environment of a run: a directory, a Valkey and services that can be killed, and a log of the faults."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry

from benchmarks.processes import BenchmarkError, Child, started, wait_for
from benchmarks.server import SETTINGS, VALKEY_SERVER, find_free_port

START_TIMEOUT_S = 60.0
"""A process starts within this time on a busy machine."""

VALKEY_DOWN_SECONDS = 1.0
AFTER_OUTAGE_MS = 2000.0
"""A client that an outage disconnected may still notice it within this time."""


def now_ms() -> float:
    """The wall clock of this machine, which is also Valkey's."""
    return time.time() * 1000


def write_line(file: Path, row: Any) -> None:
    """Append one JSON line in one write."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(handle, (json.dumps(asdict(row) if is_dataclass(row) else row) + "\n").encode())  # type: ignore[arg-type]
    finally:
        os.close(handle)


@dataclass
class ValkeyServer:
    """A Valkey server on a unix socket. It never rewrites its append-only file: the judge reads all of it."""

    directory: Path
    stack: ExitStack = field(default_factory=ExitStack)
    process: Child | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.directory / 'valkey.sock'}"

    def client(self, timeout_s: float = 0.5) -> redis.Redis:
        """A client. Its timeout is short where the server may be frozen."""
        path = str(self.directory / "valkey.sock")
        once = Retry(NoBackoff(), 0)
        return redis.Redis(unix_socket_path=path, decode_responses=True, socket_timeout=timeout_s, retry=once)

    def ask(self, question: Callable[[Any], Any]) -> Any:
        """`question(client)`, or None while the server does not answer."""
        with self.client() as client:
            try:
                return question(client)
            except redis.RedisError:
                return None

    def start(self) -> None:
        """Start the server on its append-only file, and wait until it has loaded that."""
        settings = {**SETTINGS, "auto-aof-rewrite-percentage": "0", "port": "0", "dir": str(self.directory)}
        settings["unixsocket"] = str(self.directory / "valkey.sock")
        argv = [VALKEY_SERVER, *(part for key, value in settings.items() for part in (f"--{key}", value))]
        self.process = self.stack.enter_context(started(argv, self.directory / "valkey.log"))
        wait_for(lambda: bool(self.ask(lambda client: client.ping())), START_TIMEOUT_S, "Valkey", self.process)

    def send(self, number: signal.Signals) -> None:
        """Send the server a signal. After SIGKILL, wait until it is gone."""
        if self.process is None:
            raise BenchmarkError("Valkey does not run")
        self.process.popen.send_signal(number)
        if number is signal.SIGKILL:
            self.process.popen.wait()
            self.stack.close()

    def calls_in_flight(self) -> Counter[int]:
        """Calls in flight by the process id of their worker; nothing while the server is away."""

        def read(client: Any) -> list[str]:
            ids = [member.partition(":")[0] for member in client.zrange("of:leases:mock", 0, -1)]
            return [client.hget(f"of:job:{job}", "worker") or "" for job in ids]

        matches = (re.search(r"-(\d+)-[0-9a-f]+$", worker) for worker in self.ask(read) or ())
        return Counter(int(match[1]) for match in matches if match)

    def disconnect_idle(self, idle_seconds: float) -> None:
        """Close the connections without traffic for this time: those of a frozen worker."""
        with self.client() as client:
            for row in client.client_list(_type="normal"):
                if int(row["idle"]) >= idle_seconds:
                    client.client_kill_filter(_id=row["id"])


@dataclass
class FaultLog:
    """The faults of a run, for the judge. `problems` are failures that no fault explains."""

    path: Path
    problems: list[str] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)

    def note(self, kind: str, began: float, **fields: Any) -> None:
        """Record one fault."""
        write_line(self.path, {"kind": kind, "began": began, **fields})

    @contextmanager
    def outage(self) -> Iterator[None]:
        """The server is away inside the block."""
        began = now_ms()
        self.outages.append((began, float("inf")))
        try:
            yield
        finally:
            self.outages[-1] = (began, now_ms())
            self.note("outage", began, ended=now_ms())

    @property
    def outage_now(self) -> bool:
        return bool(self.outages) and self.outages[-1][1] == float("inf")

    def excuses(self, began: float, ended: float) -> bool:
        """Whether Valkey was away at any moment between these two."""
        return any(began <= until + AFTER_OUTAGE_MS and ended >= since for since, until in self.outages)


@dataclass
class Service:
    """A module that serves HTTP on `--port`, always the same one, and prints a line when it is ready.

    `{start}` in an option is the number of the start, for files that must not be overwritten.
    """

    name: str
    module: str
    options: Sequence[str]
    directory: Path
    port: int = field(default_factory=find_free_port)
    starts: int = 0
    stack: ExitStack = field(default_factory=ExitStack)
    child: Child | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the service, and wait until it serves."""
        self.starts += 1
        output = self.directory / f"{self.name}-{self.starts}.out"
        options = [option.format(start=self.starts) for option in self.options]
        argv = [sys.executable, "-m", self.module, "--port", str(self.port), *options]
        self.child = self.stack.enter_context(started(argv, output))
        wait_for(lambda: "\n" in output.read_text(), START_TIMEOUT_S, f"{self.name} to serve", self.child)

    def kill(self) -> int:
        """SIGKILL; returns the pid of the dead process."""
        if self.child is None:
            raise BenchmarkError(f"{self.name} does not run")
        pid = self.child.popen.pid
        self.child.popen.send_signal(signal.SIGKILL)
        self.child.popen.wait()
        self.stack.close()
        self.child = None
        return pid


def mock_upstream(name: str, latency_ms: float, directory: Path) -> Service:
    """An upstream that answers well; its calls are in `calls-NAME-START.jsonl`."""
    options = ["--latency-ms", str(latency_ms), "--log", str(directory / f"calls-{name}-{{start}}.jsonl")]
    return Service(name, "benchmarks.upstream", options, directory)


@dataclass
class Environment:
    """A running Valkey and services. `slots` is the number of calls at once in one worker."""

    directory: Path
    slots: int
    server: ValkeyServer
    fault_log: FaultLog

    @property
    def config(self) -> Path:
        return self.directory / "openfall.yaml"

    @property
    def accepted(self) -> Path:
        return self.directory / "accepted.jsonl"

    def worker_argv(self, pool: str, config: Path | None = None) -> list[str]:
        """The command line of a worker."""
        path = str(config or self.config)
        argv = [sys.executable, "-m", "openfall.workers", "work", pool, "--config", path, "--announce"]
        return [*argv, "--slots", str(self.slots)]

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the configuration of the fleet, with the server and the data directory."""
        base = {"redis": self.server.url, "data": str(self.directory / "data")}
        self.config.write_text(yaml.safe_dump({**base, **config}))

    def spooled(self) -> int:
        """Settles that wait on disk."""
        return len(list((self.directory / "data" / "spool").glob("*")))

    @contextmanager
    def run_module(self, module: str, *options: str) -> Iterator[Child]:
        """Another process of the run, such as its submitter."""
        log = self.directory / f"{module.rpartition('.')[2]}.log"
        with started([sys.executable, "-m", module, *options], log) as child:
            yield child

    async def kill_valkey(self) -> None:
        """SIGKILL to Valkey; it starts again a second later."""
        with self.fault_log.outage():
            self.server.send(signal.SIGKILL)
            await asyncio.sleep(VALKEY_DOWN_SECONDS)
            await asyncio.to_thread(self.server.start)


@contextmanager
def environment(directory: Path, slots: int, services: Sequence[Service]) -> Iterator[Environment]:
    """A running environment; all of it is stopped when the block ends."""
    server = ValkeyServer(directory)
    with ExitStack() as stack:
        stack.callback(server.stack.close)
        server.start()
        for service in services:
            stack.callback(service.stack.close)
            service.start()
        yield Environment(directory, slots, server, FaultLog(directory / "faults.jsonl"))
