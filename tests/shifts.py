"""Workers in the test's own process, on real HTTP and a real Valkey, and an upstream that notes when it was asked."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.jobs.job import (
    CompletionJob,
)
from openfall.router_core.state import job_events
from openfall.router_core.state.jobs import JobRecord, JobStore, SubmitTerms
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import (
    Urgency,
)
from openfall.workers.process import Generation, WorkerConfig
from openfall.workers.worker import StopMode
from openfall.workers.worker import WorkerSettings as WorkerTerms
from tests.faults import COMPLETION, answer, fault_server


@dataclass
class Heard:
    """An upstream that answers after `latency` seconds. `at`: when each call arrived (epoch seconds)."""

    latency: float = 0.0
    url: str = ""
    at: list[float] = field(default_factory=list)

    async def script(self, writer: asyncio.StreamWriter) -> None:
        self.at.append(time.time())
        await asyncio.sleep(self.latency)
        await answer(COMPLETION)(writer)


@asynccontextmanager
async def heard(latency: float = 0.0) -> AsyncIterator[Heard]:
    """A well upstream on a free port."""
    own = Heard(latency)
    async with fault_server(own.script) as server:
        own.url = server.url
        yield own


def nobody() -> str:
    """The address of a port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@dataclass
class Place:
    """A catalog at work: who puts jobs in, and who looks at what becomes of them."""

    link: RedisConnection
    intake: JobStore
    catalog: Catalog

    async def accept(self, job_id: str, chain: tuple[str, ...], urgency: Urgency, **more: Any) -> str:
        """Put a job into the queue of the first of its chain, with the terms of its urgency."""
        body = {"messages": [{"role": "user", "content": job_id}]}
        policy = self.catalog.urgency[urgency]
        terms = SubmitTerms(
            queue=more.pop("queue", None) or self.catalog.queue(chain[0], urgency),
            expires_after_seconds=more.pop("give_up", policy.expires_after),
            keep_seconds=600,
            start_within_seconds=policy.start_within,
        )
        job = CompletionJob(id=job_id, producer="test", chain=chain, urgency=urgency, body=body, **more)
        return (await self.intake.accept(job, terms)).id

    async def until(self, job_id: str, *states: str, seconds: float = 30.0) -> JobRecord:
        """The record of a job once it is in one of these states."""
        async with asyncio.timeout(seconds):
            while (record := await self.intake.record(job_id)).state not in states:
                await asyncio.sleep(0.02)
        return record

    async def moves(self, job_id: str) -> list[dict[str, Any]]:
        """The events of a job that tell that and why it went elsewhere, or nowhere."""
        told = await job_events.read_events(self.link, job_id)
        return [event for event in told if event.get("why") or event["event"] == "held"]

    async def now(self) -> float:
        seconds, micros = await self.link.command("TIME")
        return int(seconds) + int(micros) / 1e6


@asynccontextmanager
async def place(redis_url: str, home: Path, catalog: Catalog, *pools: str, slots: int = 8) -> AsyncIterator[Place]:
    """A worker for each of the pools, working until the end of the block."""
    async with AsyncExitStack() as stack:
        for pool in pools:
            terms = WorkerTerms(slots=slots, grace=1.0)
            plan = WorkerConfig(redis_url=redis_url, catalog=catalog, pool=pool, terms=terms, spool=home / "spool")
            await stack.enter_async_context(_working(plan))
        link = await stack.enter_async_context(RedisConnection(redis_url))
        yield Place(link, JobStore(link), catalog)


@asynccontextmanager
async def _working(plan: WorkerConfig) -> AsyncIterator[None]:
    shift = Generation(plan)
    task = asyncio.create_task(shift.work())
    ready = asyncio.create_task(shift.ready.wait())
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if task.done():
            ready.cancel()
            task.result()
        yield
    finally:
        shift.stop(StopMode.NOW)
        await task


async def eventually(true: Callable[[], Any], seconds: float = 30.0) -> None:
    """Return when it is so; fails when it never comes to be."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)
