"""Late jobs whose next queue gets an open breaker too learn of it in the next sweep, whatever their urgency."""

from __future__ import annotations

import asyncio

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.urgency_policy import Cloud, UrgencyPolicy
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.state.breakers import BreakerOverride, force_breaker
from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
from openfall.router_core.state.jobs import JobStore, SubmitTerms
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register
from openfall.router_core.state.worker_subscription import QueueSubscription, WorkerIdentity, backends_for
from openfall.router_core.vocabulary import BreakerState, Urgency
from openfall.workers.maintenance.sweeper import Sweeper

CATALOG = Catalog(
    backends={
        "box": Backend(url="http://127.0.0.1:9", pool="gpu"),
        "sky": Backend(url="http://127.0.0.1:9", pool="cloud", slots=16),
    },
    models={
        "first": ModelSpec(upstream="first", backends=("box",)),
        "spare": ModelSpec(upstream="spare", backends=("sky",)),
    },
    urgency={urgency: UrgencyPolicy(start_within=30, expires_after=600, allow_cloud=Cloud.YES) for urgency in Urgency},
)


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def beat(link: RedisConnection, pool: str, model: str) -> None:
    """A worker of the pool shows that it lives."""
    queues = [CATALOG.queue(model, urgency) for urgency in Urgency]
    identity = WorkerIdentity(f"of-{pool}-host-1-abcdef", pool, tuple(queues), CATALOG.models[model].backends)
    await register(link, identity)
    drained = [QueueSubscription(queue, tuple(backends_for(CATALOG, model))) for queue in queues]
    await WorkerQueue(link, identity, drained).beat([])


async def sweep(link: RedisConnection) -> None:
    await beat(link, "gpu", "first")
    await beat(link, "cloud", "spare")
    await Sweeper(link, CATALOG).sweep(await fetch_fleet_snapshot(link, CATALOG), clean=False)


async def open_breaker(link: RedisConnection, target: str) -> None:
    await force_breaker(link, target, BreakerOverride(BreakerState.OPEN, "the fan is off"), CATALOG.breakers)


@pytest.mark.parametrize("urgency", Urgency)
def test_a_job_that_the_sweep_moved_falls_in_the_next_sweep_when_the_next_breaker_opens(redis_url, urgency):
    async def main() -> None:
        clock = Clock()
        async with RedisConnection(redis_url, clock=clock) as link:
            store = JobStore(link)
            await beat(link, "gpu", "first")
            body = {"messages": [{"role": "user", "content": "x"}]}
            job = CompletionJob(id="late-0001", producer="test", chain=("first", "spare"), urgency=urgency, body=body)
            queue = CATALOG.queue("first", urgency)
            await store.accept(job, SubmitTerms(queue=queue, expires_after_seconds=600, keep_seconds=60,
                                                start_within_seconds=30))  # fmt: skip
            clock.now += 31  # it is late
            await open_breaker(link, "box/first")
            await sweep(link)
            assert (await store.record(job.id)).queue == CATALOG.queue("spare", urgency)
            clock.now += 0.5
            await open_breaker(link, "sky/spare")
            clock.now += 0.5
            await sweep(link)
            record = await store.record(job.id)
            assert record.queue == "degrade", "it waits for its next examination, seconds later"

    asyncio.run(main())
