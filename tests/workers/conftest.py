"""A worker in the test's own process, with a real Valkey and real HTTP to an upstream of the test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.jobs import JobStore, SubmitTerms
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.wake_up import WakeUp
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, WorkerIdentity
from openfall.router_core.vocabulary import Urgency
from openfall.workers.backends.registry import open_clients
from openfall.workers.execution.executor import JobExecutor
from openfall.workers.maintenance.fleet_cache import FleetCache
from openfall.workers.maintenance.housekeeping import Housekeeping
from openfall.workers.maintenance.prober import Prober
from openfall.workers.settler import Settler
from openfall.workers.spool import Spool
from openfall.workers.worker import Worker, WorkerSettings
from tests.faults import FaultServer

_numbers = itertools.count(1)


@dataclass
class WorkerBench:
    """A working worker, the store it works on, and its upstream."""

    link: RedisConnection
    intake: JobStore
    worker: Worker
    housekeeping: Housekeeping
    spool: Spool
    upstream: FaultServer

    async def accept(self, model: str = "small", **more: Any) -> str:
        chain = more.pop("chain", (model,))
        urgency, terms = more.pop("urgency", Urgency.BACKGROUND), more.pop("terms", {})
        body = {"messages": [{"role": "user", "content": "Haruka waves"}]}
        job_id = f"job-{next(_numbers):08d}"
        job = CompletionJob(id=job_id, producer="test", chain=chain, urgency=urgency, body=body, **more)
        terms = {"expires_after_seconds": 60, "keep_seconds": 600, **terms}
        return (await self.intake.accept(job, SubmitTerms(queue=f"gpu.{chain[0]}.{urgency}", **terms))).id

    async def result(self, job_id: str) -> Result:
        """The result of a job, within a minute."""
        async with asyncio.timeout(60):
            while (result := await self.intake.result(job_id)) is None:
                await asyncio.sleep(0.01)
        return result

    async def until(self, condition: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        async with asyncio.timeout(60):
            while not await condition():
                await asyncio.sleep(0.01)

    async def state(self, job_id: str) -> str:
        return (await self.intake.record(job_id)).state


@asynccontextmanager
async def _bench(
    redis_url: str, home: Path, upstream: FaultServer, slots: int, **settings: Any
) -> AsyncIterator[WorkerBench]:
    box = settings.pop("box", BackendCapacity("box", slots))
    catalog = Catalog(
        backends={"box": Backend(url=upstream.url, pool="gpu", slots=slots)},
        models={name: ModelSpec(upstream=name, backends=("box",), timeout=10) for name in ("small", "large")},
        breakers=BreakerPolicy(open_for=0.2, jitter=0, probe_successes=1, slow_start=0),
    )
    queues = tuple(catalog.queue(model, urgency) for urgency in Urgency for model in catalog.models)
    identity = WorkerIdentity("of-gpu-here-1-abc", "gpu", queues, ("box",))
    async with RedisConnection(redis_url, clock=settings.pop("clock", None)) as link:
        await register(link, identity)
        wakeup = WakeUp(link.server, queues)
        clients = open_clients(catalog, ["box"])
        subscriptions = [QueueSubscription(queue, (box,)) for queue in queues]
        queue = WorkerQueue(link, identity, subscriptions, policy=catalog.breakers)
        spool, fleet_cache = Spool(home / "spool"), FleetCache(link, catalog)
        worker = Worker(
            queue=queue,
            wakeup=wakeup,
            settler=Settler(queue, spool, fleet_cache.breaker_opened.set),
            executor=JobExecutor(catalog, clients, fleet_cache.fleet_state),
            prober=Prober(link=link, catalog=catalog, clients=clients, jitter=lambda: 0.5),
            settings=WorkerSettings(**{"slots": slots, "grace_seconds": 5.0, **settings}),
        )
        housekeeping = Housekeeping(
            link=link, identity=identity, worker=worker, queue=queue, fleet_cache=fleet_cache, spool=spool,
            jitter=lambda: 0.5,
        )  # fmt: skip
        await housekeeping.beat()
        try:
            yield WorkerBench(link, JobStore(link), worker, housekeeping, spool, upstream)
        finally:
            await wakeup.close()
            for client in clients.values():
                await client.close()


Story = Callable[[WorkerBench, "asyncio.Task[None]"], Coroutine[Any, Any, None]]


@pytest.fixture
def working(redis_url: str, tmp_path: Path) -> Callable[..., None]:
    """`working(story, script, ...)`: run a story with a worker whose upstream answers by the scripts."""

    def run(story: Story, *scripts: Any, slots: int = 4, housekeeping: bool = True, **settings: Any) -> None:
        async def main() -> None:
            upstream = FaultServer(list(scripts))
            server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
            upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with _bench(redis_url, tmp_path, upstream, slots, **settings) as bench:
                if housekeeping:
                    bench.housekeeping.start()
                task = asyncio.create_task(bench.worker.work())
                try:
                    await story(bench, task)
                finally:
                    await cancel_all(task)
                    await bench.housekeeping.stop()
                    server.close()

        asyncio.run(main())

    return run
