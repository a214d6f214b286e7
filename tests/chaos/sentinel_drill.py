"""Jobs and streams while Sentinel fails over: the primary is killed, and frozen. The judge uses no code of ours."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import AsyncExitStack, ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.processes import BenchmarkError, started
from openfall.config import load
from openfall.producers.client import AsyncOpenfall
from openfall.router_core.state.errors import StoreError
from tests.chaos.environment import mock_upstream
from tests.chaos.progress import Progress
from tests.chaos.sentinel_streams import DELTA_MS, Streams
from tests.chaos.worker_pool import until
from tests.sentinel_group import SERVICE, SentinelGroup

QUICK_JOBS, QUICK_STREAMS = 300, 28
STREAMS = 160
WORKERS = ("gpu", "gpu", "degrade")
SLOTS = 32
LATENCY_MS = 20.0
RETRY_FOR_S = 60.0
"""A client repeats a submission this long: longer than a failover."""

ANSWERED_WITHIN_S = 180.0
FROZEN_S = 4.0


@dataclass
class Drill:
    """One run. `confirmed`: `durability: fsync` with one replica. `asking`: every other caller waits for its answer."""

    jobs: int
    kills: int
    freezes: int
    confirmed: bool
    directory: Path
    group: SentinelGroup
    log: Progress
    accepted: list[str] = field(default_factory=list)
    answered: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.directory / "openfall.yaml"

    def write_config(self, upstream: str) -> None:
        redis: dict[str, Any] = {"sentinels": list(self.group.server.sentinels), "service": SERVICE}
        if self.confirmed:
            redis |= {"durability": "fsync", "confirm_replicas": 1, "confirm_timeout": "2s"}
        document = {
            "redis": redis,
            "data": str(self.directory / "data"),
            "backends": {"mock": {"url": upstream, "pool": "gpu", "slots": 2 * SLOTS}},
            "models": {"m": {"upstream": "m", "backends": ["mock"]}},
            "roles": {"main": {"chain": ["m"]}, "chat": {"chain": ["m"]}},
            "urgency": {
                "interactive": {"reply_within": "100s", "first_token_timeout": "90s", "timeout": "110s"},
                "background": {"max_queued": 1_000_000},
            },
        }
        self.config.write_text(yaml.safe_dump(document))

    async def submit(self, client: AsyncOpenfall, seconds: float) -> None:
        """Submit all jobs, spread over this time. Every tenth caller waits for its answer."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(self.jobs):
                group.create_task(self._submit_one(client, number))
                await asyncio.sleep(max(0.0, began + seconds * number / self.jobs - time.monotonic()))

    async def _submit_one(self, client: AsyncOpenfall, number: int) -> None:
        try:
            if number % 10:
                self.accepted.append((await client.submit(f"job {number}", role="main")).id)
            else:
                await client.ask(f"job {number}", role="main", timeout=ANSWERED_WITHIN_S)
                self.answered += 1
        except (StoreError, TimeoutError) as error:
            self.problems.append(f"job {number}: {type(error).__name__}: {error}")

    async def fail_over(self, frozen: bool) -> None:
        """Kill or freeze the primary, and let it come back as a replica."""
        old = await asyncio.to_thread(self.group.primary)
        began = time.monotonic()
        if frozen:
            self.group.send(old, signal.SIGSTOP)
        else:
            self.group.kill(old)
        new = await asyncio.to_thread(self.group.wait_for_failover, old)
        word = "frozen" if frozen else "killed"
        self.log.log_line(f"primary {old} {word}, {new} took over after {time.monotonic() - began:.1f} s")
        if frozen:
            await asyncio.sleep(FROZEN_S)
            self.group.send(old, signal.SIGCONT)
        else:
            await asyncio.to_thread(self.group.start_server, old, new)
        await asyncio.to_thread(self.group.wait_for_replicas, 2)

    async def break_primaries(self, seconds: float) -> None:
        faults = [False] * self.kills + [True] * self.freezes
        for frozen in faults:
            await asyncio.sleep(seconds / (len(faults) + 1) / 2)
            await self.fail_over(frozen)

    async def judge(self) -> dict[str, Any]:
        """Wait until each accepted job has a result, or is not known any more."""
        began = time.monotonic()
        open_jobs, lost = self.accepted, []
        while open_jobs and time.monotonic() < began + ANSWERED_WITHIN_S:
            with closing(self.group.client(await asyncio.to_thread(self.group.primary), timeout=10)) as client:
                pipe = client.pipeline(transaction=False)
                for job in open_jobs:
                    pipe.exists(f"of:result:{job}")
                    pipe.exists(f"of:job:{job}")
                replies = pipe.execute()
            lost += [job for job, known in zip(open_jobs, replies[1::2], strict=True) if not known]
            pairs = zip(open_jobs, replies[::2], replies[1::2], strict=True)
            open_jobs = [job for job, ended, known in pairs if known and not ended]
            await asyncio.sleep(0.2)
        if open_jobs:
            self.problems.append(f"{len(open_jobs)} accepted jobs have no answer")
        allowed = 0 if self.confirmed else len(self.accepted)
        return {
            "kept": len(lost) <= allowed,
            "problems": self.problems,
            "durability": "fsync, one replica" if self.confirmed else "everysec",
            "accepted": len(self.accepted),
            "lost by asynchronous replication": len(lost),
            "waiting callers answered": self.answered,
        }


async def run(jobs: int, confirmed: bool, quick: bool, directory: Path, progress: Progress) -> dict[str, Any]:
    """The verdict of a run."""
    options = ("--appendfsync", "always") if confirmed else ()
    seconds = max(4.0, jobs / 250)
    with ExitStack() as stack:
        group = SentinelGroup(directory, options)
        stack.callback(group.close)
        await asyncio.to_thread(group.start)
        upstream = mock_upstream("mock", LATENCY_MS, directory)
        upstream.options = [*upstream.options, "--delta-ms", str(DELTA_MS)]
        stack.callback(upstream.stack.close)
        upstream.start()
        drill = Drill(jobs, 1 if quick else 3, 0 if quick else 1, confirmed, directory, group, progress)
        drill.write_config(upstream.url)
        for number, pool in enumerate(WORKERS):
            argv = [sys.executable, "-m", "openfall.workers", "work", pool, "--config", str(drill.config), "--announce"]
            log = directory / f"worker-{number}.log"
            child = stack.enter_context(started([*argv, "--slots", str(SLOTS)], log))
            await until(lambda log=log: '"ready"' in log.read_text() or None, what="a worker to be ready")
            if child.popen.poll() is not None:
                raise BenchmarkError(f"a worker ended: {child.last_output}")
        async with AsyncExitStack() as clients:
            client = await clients.enter_async_context(AsyncOpenfall(config=load(drill.config), retry_for=RETRY_FOR_S))
            progress.log_line(f"{jobs:,} jobs over {seconds:.0f} s, {drill.kills} kills, {drill.freezes} freezes")
            streams = Streams(drill.config, QUICK_STREAMS if quick else STREAMS, seconds, stack)
            await streams.open()
            await asyncio.gather(drill.submit(client, seconds), drill.break_primaries(seconds))
        figures, broken = await streams.judge()
        drill.problems += broken
        return {**await drill.judge(), **figures}
