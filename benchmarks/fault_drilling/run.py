"""One drill from its first job to its verdict, on a fleet of real processes that all drills of a run share."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import yaml

from benchmarks.fault_drilling.evidence import Case, gather
from benchmarks.fault_drilling.kinds import KINDS, Keeps
from benchmarks.fault_drilling.upstream import GOOD, now_ms
from benchmarks.fault_drilling.verdict import Verdict, judge
from benchmarks.processes import BenchmarkError, Child, started, wait_for
from benchmarks.server import valkey
from openfall.config import load
from openfall.producers.client import AsyncOpenfall
from openfall.producers.request import JobRequest

WORKERS = ("cloud", "cloud", "gpu", "degrade")
"""The broken upstreams are in the cloud, where two processes share each breaker; the good one is local."""

SLOTS = 4
GOOD_SLOTS = 128
OPEN_AFTER = 5
TIMEOUT = 1
RATE = 250.0
"""Jobs put in a second."""
AFTER = 5
"""Jobs put in once it has healed."""

BOOT = 60.0
ENDED = 60.0
"""Seconds after the last job in which every job must have ended; what is left then is for the verdict to name."""
CLOSED = 30.0
LOOK = 0.05

URGENCIES = ("interactive", "background", "batch")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Fleet:
    """What all drills of a run share."""

    directory: Path
    url: str
    client: Any
    control: int
    workers: Sequence[Child]

    @property
    def log(self) -> Path:
        return self.directory / "calls.jsonl"


@contextmanager
def fleet(directory: Path, kinds: Sequence[str]) -> Iterator[Fleet]:
    """A Valkey, an upstream for each kind and a good one, workers for both pools and one for what falls."""
    with ExitStack() as stack:
        server = stack.enter_context(valkey())
        said = directory / "upstream.out"
        argv = [sys.executable, "-m", "benchmarks.fault_drilling.upstream", "--log", str(directory / "calls.jsonl")]
        upstream = stack.enter_context(started([*argv, *kinds], said))
        wait_for(lambda: "\n" in said.read_text(), BOOT, "the upstreams to start", upstream)
        places = json.loads(said.read_text().splitlines()[0])
        control = places.pop("control")
        (directory / "openfall.yaml").write_text(yaml.safe_dump(configuration(server.url, directory, places)))
        workers = []
        for number, pool in enumerate(WORKERS):
            log = directory / f"worker-{number}-{pool}.log"
            argv = [
                sys.executable,
                "-m",
                "openfall.workers",
                "work",
                pool,
                "--config",
                str(directory / "openfall.yaml"),
            ]
            workers.append(stack.enter_context(started([*argv, "--announce"], log)))
        for worker in workers:
            wait_for(lambda log=worker.log: '"ready"' in log.read_text(), BOOT, "a worker to be ready", worker)  # type: ignore[misc]
        client = stack.enter_context(redis.Redis.from_url(server.url, decode_responses=True))
        yield Fleet(directory, server.url, client, control, workers)


def configuration(url: str, directory: Path, places: dict[str, str]) -> dict[str, Any]:
    """Every kind is a backend and a model of its own name; the chain of its role is that model, then the good one."""
    kinds = [name for name in places if name != GOOD]
    backends: dict[str, Any] = {
        name: {"url": places[name], "pool": "cloud", "slots": SLOTS, "billing": "flat"} for name in kinds
    }
    for name in kinds:
        if KINDS[name].keeps is Keeps.KEY:
            backends[name]["key"] = "sk-of-a-drill"
    backends[GOOD] = {"url": places[GOOD], "pool": "gpu", "slots": GOOD_SLOTS}
    models: dict[str, Any] = {name: {"upstream": "m", "backends": [name], "timeout": TIMEOUT} for name in kinds}
    models[GOOD] = {"upstream": "m", "backends": [GOOD], "timeout": 10}
    return {
        "redis": url,
        "data": str(directory / "data"),
        "pools": {"gpu": {"local": "yes"}, "cloud": {"local": "no"}},
        "backends": backends,
        "models": models,
        "roles": {f"to-{name}": {"chain": [name, GOOD]} for name in kinds},
        "urgency": {
            "interactive": {"start_within": "1s", "expires_after": "2m"},
            "background": {"start_within": "2s", "expires_after": "5m"},
            "batch": {"start_within": "4s", "expires_after": "10m", "allow_cloud": "yes"},
        },
        "breakers": {"consecutive_failures": OPEN_AFTER, "open_for": "2s", "open_for_max": "4s", "slow_start": "1s"},
        "workers": {"slots": 128},
    }


async def drill(place: Fleet, name: str, count: int, say: Say) -> Verdict:
    """Put jobs in while the upstream is broken, mend it when none waits, and judge what the fleet did."""
    loaded = load(place.directory / "openfall.yaml")
    began = now_ms()
    async with AsyncOpenfall(config=loaded, producer="drill") as llm:
        jobs = await _put_in(llm, name, count)
        say(f"{name}: {len(jobs):,} jobs are in")
        await _until(lambda: not place.client.zcard("of:unfinished"), ENDED)
        healed = await _heal(place, name)
        say(f"{name}: no job waits; mended")
        await _until(lambda: _is_well(place.client), CLOSED)
        after = await _put_in(llm, name, AFTER, "after")
        await _until(lambda: not place.client.zcard("of:unfinished"), ENDED)
    dead = [worker for worker in place.workers if worker.popen.poll() is not None]
    if dead:
        raise BenchmarkError(f"a worker ended: {dead[0].said}")
    case = Case(name, jobs, after, SLOTS, OPEN_AFTER, began, healed)
    return judge(gather(case, place.log, place.client))


async def _put_in(llm: AsyncOpenfall, name: str, count: int, mark: str = "job") -> list[str]:
    """Mixed jobs at a steady rate: each urgency in turn, every other one streamed. Their ids."""
    ids = [f"{mark}-{name}-{number:05}" for number in range(count)]
    loop = asyncio.get_running_loop()
    start = loop.time()
    for number, job in enumerate(ids):
        await asyncio.sleep(max(0.0, start + number / RATE - loop.time()))
        urgency = URGENCIES[number % 3] if mark == "job" else "background"
        stream = number // 3 % 2 == 1
        (told,) = await llm.submit_many(
            [JobRequest(job, {"id": job, "role": f"to-{name}", "urgency": urgency, "stream": stream})]
        )
        if isinstance(told, Exception):
            raise BenchmarkError(f"{job} was refused: {told}") from told
    return ids


async def _heal(place: Fleet, name: str) -> float:
    """Mend an upstream; the moment at which it was well, by its own clock."""
    with socket.create_connection(("127.0.0.1", place.control), timeout=10) as link:
        link.sendall(f"{name}\n".encode())
        return float(await asyncio.to_thread(link.recv, 100))


def _is_well(client: Any) -> bool:
    """Nothing keeps calls from it any more: no breaker, no cooldown, no slow return."""
    return not client.hlen("of:blocked")


async def _until(true: Callable[[], bool], seconds: float) -> None:
    """Return when it is so, or when the time is over: what is not so then is for the verdict to name."""
    for _ in range(int(seconds / LOOK)):
        if true():
            return
        await asyncio.sleep(LOOK)
