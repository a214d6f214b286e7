"""A graphics card whose manager is killed, frozen or cut off, and whose engine crashes, forgets, or has to share.

Each fault has jobs of its own, in turn for two models that cannot share the card. The judge uses no code of ours.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from benchmarks.processes import BenchmarkError, last_line
from openfall.producers.client import AsyncOpenfall
from tests.chaos.environment import Environment, Service, environment, write_line
from tests.chaos.judge.card_verdict import fleets, record_of
from tests.chaos.progress import Progress
from tests.chaos.redis_cut import RedisPath
from tests.chaos.worker_pool import WorkerPool, WorkerProcess, until

VRAM_GB = 16.0
MODELS: Mapping[str, tuple[float, float, float]] = {
    "alpha": (10, 1.0, 0.3), "beta": (10, 1.5, 0.3), "gamma": (4, 0.5, 0.3),
}  # fmt: skip
"""GB, seconds to load, seconds of a call."""
JOBS = 6
ENDED_WITHIN_S = 120.0
FROZEN_SECONDS = 14.0
TAKEN_SECONDS = 4.0
MAX_WORKERS = 16
SECOND_POOL, SECOND_MODEL = "other", "gamma"
"""Of a second fleet on the same engine, in another database of Redis."""
OPEN_SECONDS = 4.0
"""A crash opens the breakers of the engine's models: by default for 30 s, which is no matter of the card."""
MOMENTS = ("before", "during", "after")
"""Before, during and after a load."""


@dataclass
class CutWorkers(WorkerPool):
    """Workers, each with a way to Redis of its own."""

    ways: list[RedisPath] = field(default_factory=list)
    way_of: dict[int, RedisPath] = field(default_factory=dict)

    def start(self, pool: str, config: Path | None = None) -> WorkerProcess:
        env, path = self.environment, self.ways[self.born]
        fleet = config or (_second_config(env) if pool == SECOND_POOL else env.config)
        own = env.directory / f"worker-{self.born}.yaml"
        own.write_text(fleet.read_text().replace(env.server.url, f"unix://{path.path}"))
        worker = super().start(pool, own)
        self.way_of[worker.pid] = path
        return worker


@dataclass
class CardDrill:
    """The environment of a run. `second`: a client of the other fleet."""

    environment: Environment
    pool: CutWorkers
    engine: Service
    client: AsyncOpenfall
    second: AsyncOpenfall
    progress: Progress

    def rows(self) -> list[dict[str, Any]]:
        """What the engine has done so far."""
        path = self.environment.directory / "engine.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def manager(self) -> WorkerProcess:
        """The worker that manages the cards of `gpu`."""
        name = self.environment.server.ask(lambda client: client.hget("of:card-manager:gpu", "worker")) or ""
        match = re.search(r"-(\d+)-[0-9a-f]+$", name)
        pid = int(match[1]) if match else 0
        managers = [worker for worker in self.pool.workers if worker.pid == pid]
        if not managers:
            raise BenchmarkError(f"no worker manages the card: {name!r}")
        return managers[0]

    async def until_row(self, event: str, since: int) -> None:
        await until(lambda: any(row["event"] == event for row in self.rows()[since:]) or None, 60.0, f"a {event}")

    async def control(self, path: str) -> None:
        async with aiohttp.ClientSession() as session, session.post(f"{self.engine.url}/{path}") as response:
            response.raise_for_status()

    async def episode(self, fault: CardFault) -> None:
        """The jobs of one fault, until all have ended."""
        began_at, since = time.time(), len(self.rows())
        jobs = await self._submit(fault)
        if fault.moment == "during":
            await self.until_row("load", since)
        elif fault.moment == "after":
            await self.until_row("loaded", since)
        fault_at = time.time()
        self.progress.log_line(fault.name)
        after = await fault.commit(self)
        await self._until_ended(jobs)
        ended_at = time.time()
        if after is not None:
            await after
        episode = {"name": fault.name, "jobs": jobs, "began_at": began_at, "fault_at": fault_at, "ended_at": ended_at}
        write_line(self.environment.directory / "episodes.jsonl", {**episode, "loads": fault.loads})

    async def _submit(self, fault: CardFault) -> dict[str, str]:
        """The texts of the jobs, by id."""
        texts = {}
        for model in fault.models:
            for number in range(JOBS):
                text = f"{fault.name} {model} {number}"
                client = self.second if model == SECOND_MODEL else self.client
                receipt = await client.submit(text, model=model, urgency=fault.urgency)
                texts[receipt.id] = text
        return texts

    async def _until_ended(self, jobs: Iterable[str]) -> None:
        url = self.environment.server.url

        def open_jobs() -> int:
            with fleets(url) as clients:
                return sum(record_of(job, clients).get("state") != "done" for job in jobs)

        await until(lambda: open_jobs() == 0 or None, ENDED_WITHIN_S, "every job to end")


Commit = Callable[[CardDrill], Awaitable["asyncio.Task[None] | None"]]
"""Commits a fault. Returns what is still to do when its jobs have ended."""


@dataclass(frozen=True)
class CardFault:
    """`loads`: those that the jobs of the episode need."""

    name: str
    commit: Commit
    moment: str = "before"
    loads: int = 2
    models: Sequence[str] = ("alpha", "beta")
    urgency: str = "batch"


async def kill_manager(drill: CardDrill) -> None:
    drill.pool.kill(drill.manager(), "manager")


async def freeze_manager(drill: CardDrill) -> asyncio.Task[None]:
    worker = drill.manager()
    worker.disturbed = True
    worker.send(signal.SIGSTOP)

    async def thaw() -> None:
        await asyncio.sleep(FROZEN_SECONDS)
        worker.send(signal.SIGCONT)
        worker.disturbed = False

    return asyncio.create_task(thaw())


async def cut_manager_off(drill: CardDrill) -> asyncio.Task[None]:
    path = drill.pool.way_of[drill.manager().pid]
    path.cut()

    async def restore() -> None:
        await asyncio.sleep(FROZEN_SECONDS)
        path.restore()

    return asyncio.create_task(restore())


async def crash_engine(drill: CardDrill) -> None:
    for _ in range(3):
        drill.engine.kill()
        since = len(drill.rows())
        await asyncio.to_thread(drill.engine.start)
        await drill.until_row("load", since)


async def evict(drill: CardDrill) -> None:
    await drill.control("evict")


async def take_memory(drill: CardDrill) -> None:
    await drill.control(f"taken/{VRAM_GB - 4}")
    await asyncio.sleep(TAKEN_SECONDS)
    await drill.control("taken/0")


async def nothing(_: CardDrill) -> None:
    return None


HOLDERS: Mapping[str, Commit] = {"killed": kill_manager, "frozen": freeze_manager, "cut off": cut_manager_off}
FAULTS = (
    *(CardFault(f"manager {how} {moment} a load", commit, moment)
      for how, commit in HOLDERS.items() for moment in MOMENTS),
    CardFault("engine crashed three times", crash_engine, "after", loads=5),
    CardFault("memory taken by another process", take_memory, "before", loads=3),
    CardFault("engine evicts by itself", evict, "after", loads=3),
    CardFault("two fleets on one host", nothing, models=("alpha", SECOND_MODEL, "beta"), loads=4),
)  # fmt: skip
OTHER_POOLS = {SECOND_POOL: "two fleets on one host", "degrade": "engine crashed three times"}
"""Pools that only one fault needs."""
QUICK_FAULTS = ("engine evicts by itself", "two fleets on one host")


async def run(names: Sequence[str], directory: Path, progress: Progress) -> dict[str, Any]:
    """The verdict of a run."""
    models = [f"{name}={','.join(map(str, row))}" for name, row in MODELS.items()]
    options = ["--log", str(directory / "engine.jsonl"), "--vram", str(VRAM_GB)]
    engine = Service("engine", "tests.chaos.card_server",
                     [*options, *(part for model in models for part in ("--model", model))], directory)  # fmt: skip
    with environment(directory, 4, [engine]) as env, ExitStack() as stack:
        env.write_config(_config(engine.url))
        ways = [RedisPath(directory / f"way-{n}.sock", directory / "valkey.sock") for n in range(MAX_WORKERS)]
        servers = [await each.serve() for each in ways]
        pool = CutWorkers(env, ways=ways)
        stack.callback(pool.close)
        second = _second_config(env)
        async with AsyncOpenfall(config=env.config) as client, AsyncOpenfall(config=second) as other:
            drill = CardDrill(env, pool, engine, client, other, progress)
            for name in ("gpu", "gpu", *(pool for pool, fault in OTHER_POOLS.items() if fault in names)):
                pool.start(name)
            await pool.wait_until_ready()
            supervisor = asyncio.create_task(pool.supervise())
            try:
                for fault in FAULTS:
                    if fault.name in names:
                        await drill.episode(fault)
            finally:
                supervisor.cancel()
                for server in servers:
                    server.close()
        await pool.stop_all()
        return {**await _judge(directory, env.server.url), "problems": env.fault_log.problems}


def _config(url: str) -> dict[str, Any]:
    backend = {"url": url, "protocol": "ollama", "slots": 4, "vram_gb": VRAM_GB, "pool": "gpu"}
    return {
        "pools": {"gpu": {"local": True}},
        "backends": {"tower": backend},
        "models": {
            name: {"upstream": name, "backends": ["tower"], "vram_gb": row[0], "load_time": row[1]}
            for name, row in MODELS.items()
            if name != SECOND_MODEL
        },
        "roles": {"main": {"chain": ["alpha"]}},
        "breakers": {"open_for": OPEN_SECONDS},
    }


def _second_config(env: Environment) -> Path:
    """The configuration of the second fleet: the same engine, and a small model."""
    path, config = env.directory / "second.yaml", yaml.safe_load(env.config.read_text())
    size, load_time, _ = MODELS[SECOND_MODEL]
    model = {"upstream": SECOND_MODEL, "backends": ["tower"], "vram_gb": size, "load_time": load_time}
    config |= {
        "redis": f"{env.server.url}?db=1",
        "data": str(env.directory / "second"),
        "pools": {SECOND_POOL: {"local": True}},
        "backends": {"tower": {**config["backends"]["tower"], "pool": SECOND_POOL}},
        "models": {SECOND_MODEL: model},
        "roles": {"main": {"chain": [SECOND_MODEL]}},
    }
    path.write_text(yaml.safe_dump(config))
    return path


async def _judge(directory: Path, url: str) -> dict[str, Any]:
    argv = [sys.executable, "-m", "tests.chaos.judge.card_verdict", str(directory), "--url", url]
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    if not output:
        raise BenchmarkError(f"the judge failed: {last_line(errors.decode())}")
    verdict: dict[str, Any] = json.loads(output)
    return verdict
