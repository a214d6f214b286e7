"""A worker to be driven in-process: real Valkey, real HTTP to an upstream of the test's own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from router_core.breaker import BreakerPolicy
from router_core.catalog import Backend, Catalog, ModelSpec
from router_core.job import CompletionJob, Urgency
from router_core.result import Result
from router_core.state.delivery import Deliveries
from router_core.state.drained import Drained, Identity, Seat
from router_core.state.intake import Intake, Terms
from router_core.state.link import Link
from router_core.state.presence import Bell, register
from router_core.state.tasks import stop
from tests.faults import FaultServer
from workers.attempt import Carrier
from workers.backends.registry import open_backend
from workers.crew import Crew
from workers.probing import Prober
from workers.spool import Spool
from workers.upkeep import Upkeep
from workers.watch import Watch
from workers.worker import Terms as WorkerTerms
from workers.worker import Worker

_numbers = itertools.count(1)


@dataclass
class Bench:
    """What a test of a worker works with."""

    link: Link
    intake: Intake
    worker: Worker
    upkeep: Upkeep
    spool: Spool
    upstream: FaultServer

    async def accept(self, model: str = "small", **more: Any) -> str:
        chain = more.pop("chain", (model,))
        urgency = more.pop("urgency", Urgency.BACKGROUND)
        body = {"messages": [{"role": "user", "content": "Haruka waves"}]}
        job_id = f"job-{next(_numbers):08d}"
        job = CompletionJob(id=job_id, producer="test", chain=chain, urgency=urgency, body=body, **more)
        terms = Terms(queue=f"gpu.{chain[0]}.{urgency}", give_up=60, keep=600)
        return (await self.intake.accept(job, terms)).id

    async def result(self, job_id: str) -> Result:
        """The result of a job; fails after some seconds without one."""
        async with asyncio.timeout(20):
            while (result := await self.intake.result(job_id)) is None:
                await asyncio.sleep(0.01)
        return result

    async def until(self, true: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        async with asyncio.timeout(20):
            while not await true():
                await asyncio.sleep(0.01)

    async def state(self, job_id: str) -> str:
        return (await self.intake.record(job_id)).state


@asynccontextmanager
async def _bench(redis_url: str, home: Path, upstream: FaultServer, slots: int, **terms: Any) -> AsyncIterator[Bench]:
    box = terms.pop("box", Seat("box", slots))
    catalog = Catalog(
        backends={"box": Backend(url=upstream.url, pool="gpu", slots=slots)},
        models={name: ModelSpec(upstream=name, at=("box",), timeout=10) for name in ("small", "large")},
        breakers=BreakerPolicy(recover_after=0.2, spread=0, probes=1, ramp=0),
    )
    queues = tuple(catalog.queue(model, urgency) for urgency in Urgency for model in catalog.models)
    who = Identity("of-gpu-here-1-abc", "gpu", queues, ("box",))
    async with Link(redis_url) as link:
        await register(link, who)
        bell = Bell(link.url, queues)
        backend = open_backend(catalog.backends["box"])
        drained = [Drained(queue, (box,)) for queue in queues]
        deliveries = Deliveries(link, who, drained, policy=catalog.breakers)
        spool, watch, backends = Spool(home / "spool"), Watch(link, catalog), {"box": backend}
        crew = Crew(
            Carrier(catalog=catalog, backends=backends, fleet=watch.fleet),
            Prober(link=link, catalog=catalog, backends=backends, chance=lambda: 0.5),
            watch.troubled.set,
        )
        worker = Worker(deliveries, bell, spool, crew, WorkerTerms(**{"slots": slots, "grace": 5.0, **terms}))
        upkeep = Upkeep(
            link=link, who=who, worker=worker, deliveries=deliveries, watch=watch, spool=spool, chance=lambda: 0.5
        )
        await upkeep.worker_is_here()
        try:
            yield Bench(link, Intake(link), worker, upkeep, spool, upstream)
        finally:
            await bell.close()
            await backend.close()


Story = Callable[[Bench, "asyncio.Task[None]"], Coroutine[Any, Any, None]]


@pytest.fixture
def working(redis_url: str, tmp_path: Path) -> Callable[..., None]:
    """`working(story, script, ...)`: run a story beside a working worker whose upstream answers by the scripts."""

    def run(story: Story, *scripts: Any, slots: int = 4, upkeep: bool = True, **terms: Any) -> None:
        async def main() -> None:
            upstream = FaultServer(list(scripts))
            server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
            upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with _bench(redis_url, tmp_path, upstream, slots, **terms) as bench:
                if upkeep:
                    bench.upkeep.start()
                task = asyncio.create_task(bench.worker.work())
                try:
                    await story(bench, task)
                finally:
                    await stop(task)
                    await bench.upkeep.stop()
                    server.close()

        asyncio.run(main())

    return run
