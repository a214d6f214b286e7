"""An outage is over when a model of each of its chains takes calls again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
import redis

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.degrading.incident_end import QUIET_SECONDS
from openfall.router_core.state.breakers import BreakerOverride, force_breaker
from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
from openfall.router_core.state.incidents import fetch_incident, open_incidents
from openfall.router_core.state.operator_switches import pause_queue, set_local_only
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, WorkerIdentity
from openfall.router_core.vocabulary import BreakerState, Urgency
from openfall.workers.maintenance.incident_closer import close_ended_incidents

OPEN, CLOSED = BreakerState.OPEN, BreakerState.CLOSED
CATALOG = Catalog(
    backends={
        "box": Backend(url="http://127.0.0.1:1", pool="gpu", slots=1),
        "sky": Backend(url="http://127.0.0.1:1", pool="cloud", slots=1),
    },
    models={
        **{name: ModelSpec(upstream=name, backends=("box",)) for name in ("smol", "large")},
        "far": ModelSpec(upstream="far", backends=("sky",)),
    },
)
QUEUES = tuple(CATALOG.queue(model, urgency) for urgency in Urgency for model in ("smol", "large"))
WHO = WorkerIdentity("worker-a", "gpu", QUEUES, ("box",))


@dataclass
class CloserHarness:
    link: RedisConnection
    store: redis.Redis
    time: list[float]

    def incident(self, reason: str, *chains: str) -> str:
        incident_id = f"{reason}-{int(self.time[0] * 1000)}"
        fields = {"reason": reason, "began": int(self.time[0] * 1000), "u:background": 1, "version": 1}
        counted = {f"chain:{chain}": 1 for chain in chains}
        self.store.hset(f"of:incident:{incident_id}", mapping={**fields, **counted})
        self.store.hset("of:incidents", reason, incident_id)
        self.time[0] += QUIET_SECONDS
        return incident_id

    async def close(self) -> list[str]:
        """Close what is over. Returns the open incidents."""
        await register(self.link, WHO)
        await WorkerQueue(
            self.link, WHO, [QueueSubscription(queue, (BackendCapacity("box", 1),)) for queue in QUEUES]
        ).beat([])
        await close_ended_incidents(self.link, await fetch_fleet_snapshot(self.link, CATALOG))
        return [incident.id for incident in await open_incidents(self.link)]

    async def breaker(self, model: str, state: BreakerState) -> None:
        await force_breaker(self.link, f"box/{model}", BreakerOverride(state, "a test"), CATALOG.breakers)


@pytest.fixture
def closing(redis_url: str) -> Callable[[Callable[[CloserHarness], Awaitable[None]]], None]:
    def run(story: Callable[[CloserHarness], Awaitable[None]]) -> None:
        async def main() -> None:
            now = [1800000000.0]
            with redis.Redis.from_url(redis_url) as store:
                async with RedisConnection(redis_url, clock=lambda: now[0]) as link:
                    await story(CloserHarness(link, store, now))

        asyncio.run(main())

    return run


def test_an_outage_stays_open_while_no_model_of_one_of_its_chains_takes_calls(closing):
    async def story(harness):
        incident = harness.incident("outage", "smol")
        await harness.breaker("smol", OPEN)
        assert await harness.close() == [incident]
        await harness.breaker("smol", CLOSED)
        assert await harness.close() == []
        assert (await fetch_incident(harness.link, incident)).ended_at == harness.time[0]

    closing(story)


def test_an_outage_is_over_for_its_callers_when_another_model_of_the_chain_takes_calls(closing):
    async def story(harness):
        incident = harness.incident("outage", "large,smol", "smol")
        await harness.breaker("smol", OPEN)
        assert await harness.close() == [incident], "the second chain has no model"
        harness.store.hdel(f"of:incident:{incident}", "chain:smol")
        assert await harness.close() == []

    closing(story)


@pytest.mark.parametrize(
    ("reason", "model"), [("outage", "large"), ("outage", "gone"), ("poisoned", "smol")],
    ids=["a model that it did not name", "one that the catalog has no more", "another reason"],
)  # fmt: skip
def test_an_unrelated_model_does_not_keep_an_incident_open(closing, reason, model):
    async def story(harness):
        harness.incident(reason, model)
        await harness.breaker("smol", OPEN)
        assert await harness.close() == []

    closing(story)


def test_a_block_by_an_operator_does_not_keep_an_outage_open(closing):
    async def story(harness):
        incident = harness.incident("outage", "smol", "far")
        assert await harness.close() == [incident], "no worker serves far"
        await set_local_only(harness.link, True)
        await pause_queue(harness.link, CATALOG.queue("smol", Urgency.BACKGROUND))
        assert await harness.close() == []

    closing(story)


def test_an_incident_with_held_jobs_stays_open_and_another_is_closed(closing):
    async def story(harness):
        harness.incident("outage", "smol")
        held = harness.incident("own_fault", "smol")
        harness.store.hset(f"of:incident:{held}", "held", 1)
        assert await harness.close() == [held]

    closing(story)
