"""Workers in the test's own process, with real HTTP and a real Valkey, and an upstream that records its calls."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.server import find_free_port
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.state import job_events, keys
from openfall.router_core.state.job_records import JobRecord
from openfall.router_core.state.jobs import JobStore, SubmitTerms
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import Urgency
from openfall.workers.generations import Generation
from openfall.workers.worker import StopMode, WorkerSettings
from openfall.workers.worker_config import WorkerConfig
from tests.faults import COMPLETION, answer, fault_server

LONGER_THAN_A_LEASE_MS = 61_000
"""Longer than any lease of a worker, its presence, or that of what it has taken to post."""


@dataclass
class Upstream:
    """An upstream that answers after `latency` seconds. `calls`: when each call arrived (epoch seconds)."""

    latency: float = 0.0
    url: str = ""
    calls: list[float] = field(default_factory=list)

    async def script(self, writer: asyncio.StreamWriter) -> None:
        self.calls.append(time.time())
        await asyncio.sleep(self.latency)
        await answer(COMPLETION)(writer)


@asynccontextmanager
async def healthy_upstream(latency: float = 0.0) -> AsyncIterator[Upstream]:
    """An upstream on a free port that answers every call."""
    own = Upstream(latency)
    async with fault_server(own.script) as server:
        own.url = server.url
        yield own


def worker_command(pool: str, config: Path, *options: str) -> list[str]:
    """The command line of a worker process, which prints a line when it is ready."""
    return [
        sys.executable, "-m", "openfall.workers", "work", pool, "--config", str(config), "--announce", *options
    ]  # fmt: skip


def unused_url() -> str:
    """The URL of a closed port."""
    return f"http://127.0.0.1:{find_free_port()}"


@dataclass
class Fleet:
    """Running workers of a catalog, and access to their jobs."""

    link: RedisConnection
    store: JobStore
    catalog: Catalog

    async def accept(self, job_id: str, chain: tuple[str, ...], urgency: Urgency, **more: Any) -> str:
        """Accept a job for the first model of its chain, with the policy of its urgency. Its prompt is its id, unless
        another is given."""
        body = {"messages": [{"role": "user", "content": more.pop("prompt", job_id)}]}
        policy = self.catalog.urgency[urgency]
        terms = SubmitTerms(
            queue=more.pop("queue", None) or self.catalog.queue(chain[0], urgency),
            expires_after_seconds=more.pop("give_up", policy.expires_after),
            keep_seconds=600,
            start_within_seconds=policy.start_within,
        )
        job = CompletionJob(id=job_id, producer="test", chain=chain, urgency=urgency, body=body, **more)
        return (await self.store.accept(job, terms)).id

    async def until(self, job_id: str, *states: str, seconds: float = 60.0) -> JobRecord:
        """The record of a job once it is in one of these states."""
        async with asyncio.timeout(seconds):
            while (record := await self.store.record(job_id)).state not in states:
                await asyncio.sleep(0.02)
        return record

    async def moves(self, job_id: str) -> list[dict[str, Any]]:
        """The events that show where a job was moved or held, and why."""
        events = await job_events.read_events(self.link, job_id)
        return [event for event in events if event.get("why") or event["event"] == "held"]

    async def now(self) -> float:
        seconds, micros = await self.link.command("TIME")
        return int(seconds) + int(micros) / 1e6


@asynccontextmanager
async def running_fleet(
    redis_url: str, home: Path, catalog: Catalog, *pools: str, slots: int = 8, **more: Any
) -> AsyncIterator[Fleet]:
    """A worker for each pool, working until the end of the block. `more` is for their configuration."""
    async with AsyncExitStack() as stack:
        for pool in pools:
            settings = WorkerSettings(slots=slots, grace_seconds=1.0)
            config = WorkerConfig(
                redis=RedisServer(url=redis_url),
                catalog=catalog,
                pool=pool,
                settings=settings,
                spool=home / "spool",
                **more,
            )
            await stack.enter_async_context(running_worker(config))
        link = await stack.enter_async_context(RedisConnection(redis_url))
        yield Fleet(link, JobStore(link), catalog)


@asynccontextmanager
async def running_worker(config: WorkerConfig) -> AsyncIterator[None]:
    """A worker that is ready, until the end of the block."""
    generation = Generation(config)
    task = asyncio.create_task(generation.work())
    ready = asyncio.create_task(generation.ready.wait())
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if task.done():
            ready.cancel()
            task.result()
        yield
    finally:
        generation.stop(StopMode.NOW)
        await task


async def pass_leases(link: RedisConnection, pid: int, backend: str) -> None:
    """The time passes in which others think that a killed worker may still be alive."""
    for member in await link.command("ZRANGE", keys.LEASES + backend, 0, -1):
        await link.command("ZINCRBY", keys.LEASES + backend, -LONGER_THAN_A_LEASE_MS, member)
    for member in await link.command("ZRANGE", keys.PRESENCE, 0, -1):
        if f"-{pid}-" in member.decode():
            await link.command("ZINCRBY", keys.PRESENCE, -LONGER_THAN_A_LEASE_MS, member)


async def eventually(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Return when the condition is true; fail after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
