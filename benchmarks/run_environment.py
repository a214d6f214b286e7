"""The environment of one run: a fresh Valkey, a fresh upstream, and the processes of a peer."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from benchmarks.contenders import Peer
from benchmarks.peer_venvs import get_python
from benchmarks.peers.parameters import Parameters
from benchmarks.processes import ROOT, BenchmarkError, Child, last_line, started, usage, wait_for
from benchmarks.server import Server, valkey

START_TIMEOUT_S = 30.0
"""A worker or the upstream starts within this time."""

COMMAND_TIMEOUT_S = 600.0
"""A queue is filled within this time."""


@dataclass(frozen=True)
class Sample:
    """One measurement: a moment, the answers so far, and the CPU seconds used so far."""

    at: float
    answered: float
    worker_cpu: float
    valkey_cpu: float
    upstream_cpu: float
    rss: int


@dataclass(frozen=True)
class RunEnvironment:
    """The environment of one run."""

    peer: Peer
    server: Server
    parameters: Parameters
    upstream: http.client.HTTPConnection
    log: Path | None
    console: Console

    def run_command(self, name: str, *options: str, count: int | None = None) -> dict[str, Any]:
        """Run a short command in a process of the peer, and read its answer."""
        env = {**self._environ(), **({} if count is None else {"BENCH_COUNT": str(count)})}
        argv = [*self._argv(), name, *options]
        try:
            done = subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError(f"{name} took longer than {COMMAND_TIMEOUT_S:.0f} s") from error
        if done.returncode:
            raise BenchmarkError(f"{name} failed: {last_line(done.stderr)}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    @contextmanager
    def worker(self) -> Iterator[Child]:
        """The peer's worker, just started: it may not be ready yet."""
        log = self.parameters.directory / "worker.log"
        with started([*self._argv(), "work"], log, self.parameters.environ()) as child:
            yield child

    def wait_until_ready(self, worker: Child) -> None:
        """Return when all processes of the worker can take jobs."""
        processes = self.peer.processes
        wait_for(
            lambda: self.peer.ready(self.server.client) >= processes,
            START_TIMEOUT_S,
            f"{self.peer.name} to start",
            worker,
        )

    def upstream_stats(self) -> dict[str, float]:
        """The counters of the upstream, and its CPU seconds."""
        self.upstream.request("GET", "/stats")
        answer: dict[str, float] = json.loads(self.upstream.getresponse().read())
        return answer

    def sample(self, worker: Child) -> Sample:
        """Measure everything once."""
        stats, used = self.upstream_stats(), usage(worker.popen.pid)
        valkey = self.server.cpu_seconds
        return Sample(stats["monotonic"], stats["answered"], used.cpu_seconds, valkey, stats["cpu_seconds"], used.rss)

    def _argv(self) -> list[str]:
        where = self.peer.environment
        python = sys.executable if where is None else str(get_python(where, self.console))
        return [python, "-m", f"benchmarks.peers.{self.peer.module}"]

    def _environ(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), **self.parameters.environ()}


@dataclass(frozen=True)
class Demand:
    """The size of a run."""

    count: int
    latency_ms: float = 0.0
    lanes: int = 1
    log: bool = False
    delta_ms: float = 0.0


@contextmanager
def run_environment(peer: Peer, demand: Demand, console: Console) -> Iterator[RunEnvironment]:
    """A fresh environment for one run of one peer."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="openfall-bench-")))
        server = stack.enter_context(valkey())
        log = directory / "calls.jsonl" if demand.log else None
        url = stack.enter_context(upstream(directory, demand, log))
        place = urlsplit(url)
        connection = stack.enter_context(closing(http.client.HTTPConnection(str(place.hostname), place.port)))
        parameters = Parameters(server.url, url, peer.slots, demand.count, directory, demand.lanes)
        yield RunEnvironment(peer, server, parameters, connection, log, console)


@contextmanager
def upstream(directory: Path, demand: Demand, log: Path | None) -> Iterator[str]:
    """A mock upstream, ready to serve: its URL."""
    output = directory / "upstream.out"
    options = ["--latency-ms", str(demand.latency_ms), "--delta-ms", str(demand.delta_ms)]
    options += ["--log", str(log)] if log else []
    with started([sys.executable, "-m", "benchmarks.upstream", *options], output) as child:
        wait_for(lambda: "\n" in output.read_text(), START_TIMEOUT_S, "the mock upstream to start", child)
        yield output.read_text().splitlines()[0]


def pause(seconds: float = 0.02) -> None:
    """Wait between two measurements."""
    time.sleep(seconds)
