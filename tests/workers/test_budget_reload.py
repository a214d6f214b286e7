"""A limit that is lowered and raised in the file while calls are in flight: real workers, nothing lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis

from openfall import AsyncOpenfall
from openfall.config import load
from openfall.router_core.jobs.result import Status
from openfall.router_core.state.budget_book import list_budgets
from tests.faults import COMPLETION, FaultServer, answer, fault_server
from tests.worker_harness import worker_command

TREE = Path(__file__).parents[2]
IN_FORCE = "the changed configuration is in force"
JOBS, COST = 12, 41 * 1_000 + 5 * 5_000
"""Nanodollars for the usage of an answer of the upstream."""
pytestmark = pytest.mark.slow


class Fleet:
    """Worker processes that follow one file, and an upstream that answers when the test says so."""

    def __init__(self, home: Path, redis_url: str) -> None:
        self.home, self.redis_url, self.file = home, redis_url, home / "openfall.yaml"
        self.release = asyncio.Event()
        self.upstream: FaultServer
        self.processes: list[subprocess.Popen[bytes]] = []

    def write(self, usd: float) -> None:
        document: dict[str, Any] = {
            "redis": self.redis_url,
            "data": str(self.home / "data"),
            "backends": {"api": {"url": self.upstream.url, "pool": "cloud", "slots": 4}},
            "models": {
                "m": {"upstream": "m", "backends": ["api"], "max_tokens": 20, "context": 8192,
                      "timeout": "60s", "usd_per_mtok": {"in": 1, "out": 5}},
            },
            "roles": {"chat": {"chain": ["m"]}},
            "budgets": [{"name": "house", "usd": usd, "then": ["wait"]}],
        }  # fmt: skip
        beside = self.home / "new.yaml"
        beside.write_text(yaml.safe_dump(document))
        beside.rename(self.file)

    async def held_back(self, writer: asyncio.StreamWriter) -> None:
        await self.release.wait()
        await answer(COMPLETION)(writer)

    async def start(self, pool: str) -> None:
        with (self.home / f"{pool}.log").open("wb") as log:
            argv = worker_command(pool, self.file)
            process = subprocess.Popen(argv, cwd=TREE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        self.processes.append(process)
        assert process.stdout is not None
        assert b"ready" in await asyncio.to_thread(process.stdout.readline)

    def reloads(self) -> list[int]:
        return [(self.home / f"{pool}.log").read_text().count(IN_FORCE) for pool in ("cloud", "degrade")]

    async def change(self, usd: float) -> None:
        """Change the limit, and wait until both workers follow it."""
        before = self.reloads()
        self.write(usd)
        await until(lambda: all(now > then for now, then in zip(self.reloads(), before, strict=True)))

    def stop(self) -> None:
        for process in self.processes:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


async def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


def test_a_limit_that_is_lowered_and_raised_while_calls_are_in_flight_loses_no_job(
    tmp_path: Path, redis_url: str
) -> None:
    fleet, store = Fleet(tmp_path, redis_url), Redis.from_url(redis_url)

    async def story() -> None:
        async with fault_server(fleet.held_back) as fleet.upstream:
            fleet.write(usd=1.0)
            for pool in ("cloud", "degrade"):
                await fleet.start(pool)
            async with AsyncOpenfall(config=load(fleet.file), producer="test") as client:
                ids = [await client.submit(f"hello {n}", role="chat", urgency="background") for n in range(JOBS)]
                await until(lambda: len(fleet.upstream.calls_received) == 4)
                await fleet.change(usd=0.0003)  # room for one call, and four are in flight
                fleet.release.set()
                await until(lambda: store.zcard("rq:deferred:degrade") == JOBS - 4)
                assert len(fleet.upstream.calls_received) == 4, (
                    "those in flight end as they began, and no further one is made"
                )
                now = await client.store.server_time()
                (state,) = await list_budgets(client.store.connection, load(fleet.file).catalog.budgets, now)
                assert (state.spent, state.reserved) == (4 * COST, 0)
                await fleet.change(usd=1.0)
                results = [await client.wait(job_id, timeout=60, accept_interim=False) for job_id in ids]
        assert {result.status for result in results} == {Status.ANSWERED}
        assert len(fleet.upstream.calls_received) == JOBS, "each is called once"

    try:
        asyncio.run(story())
    finally:
        fleet.stop()
