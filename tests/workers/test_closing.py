"""An outage is over when its models take calls again, and not while one that it named does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
import redis

from openfall.router_core.catalog.entries import Backend, Catalog, ModelSpec
from openfall.router_core.state.breakers import BreakerOverride, force_breaker
from openfall.router_core.state.fleet_flags import set_local_only
from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
from openfall.router_core.state.fleet_status import pause_queue
from openfall.router_core.state.incidents import QUIET_SECONDS, fetch_incident, open_incidents
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.subscription import BackendCapacity, QueueSubscription, WorkerIdentity
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register
from openfall.router_core.vocabulary import (
    BreakerState,
    Urgency,
)
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
class House:
    link: RedisConnection
    store: redis.Redis
    time: list[float]

    def incident(self, reason: str, *models: str) -> str:
        found = f"{reason}-{int(self.time[0] * 1000)}"
        told = {"reason": reason, "began": int(self.time[0] * 1000), "u:background": 1, "version": 1}
        counted = {f"m:{model}": 1 for model in models}
        self.store.hset(f"of:incident:{found}", mapping={**told, **counted})
        self.store.hset("of:incidents", reason, found)
        self.time[0] += QUIET_SECONDS
        return found

    async def look(self) -> list[str]:
        """The incidents that go on after a round."""
        await register(self.link, WHO)
        await WorkerQueue(
            self.link, WHO, [QueueSubscription(queue, (BackendCapacity("box", 1),)) for queue in QUEUES]
        ).beat([])
        await close_ended_incidents(self.link, await fetch_fleet_snapshot(self.link, CATALOG))
        return [found.id for found in await open_incidents(self.link)]

    async def breaker(self, model: str, state: BreakerState) -> None:
        await force_breaker(self.link, f"box/{model}", BreakerOverride(state, "a test"), CATALOG.breakers)


@pytest.fixture
def house(redis_url: str) -> Callable[[Callable[[House], Awaitable[None]]], None]:
    def run(story: Callable[[House], Awaitable[None]]) -> None:
        async def main() -> None:
            now = [1800000000.0]
            with redis.Redis.from_url(redis_url) as store:
                async with RedisConnection(redis_url, clock=lambda: now[0]) as link:
                    await story(House(link, store, now))

        asyncio.run(main())

    return run


def test_an_outage_goes_on_while_a_model_that_it_named_takes_no_calls(house):
    async def story(f):
        one = f.incident("outage", "smol")
        await f.breaker("smol", OPEN)
        assert await f.look() == [one]
        await f.breaker("smol", CLOSED)
        assert await f.look() == []
        assert (await fetch_incident(f.link, one)).ended_at == f.time[0]

    house(story)


@pytest.mark.parametrize(
    ("reason", "model"), [("outage", "large"), ("outage", "gone"), ("poisoned", "smol")],
    ids=["a model that it did not name", "one that the catalog has no more", "another reason"],
)  # fmt: skip
def test_what_has_nothing_to_do_with_it_does_not_keep_it_open(house, reason, model):
    async def story(f):
        f.incident(reason, model)
        await f.breaker("smol", OPEN)
        assert await f.look() == []

    house(story)


def test_what_an_operator_keeps_calls_from_is_not_away(house):
    async def story(f):
        one = f.incident("outage", "smol", "far")
        assert await f.look() == [one], "nobody serves far"
        await set_local_only(f.link, True)
        await pause_queue(f.link, CATALOG.queue("smol", Urgency.BACKGROUND))
        assert await f.look() == []

    house(story)


def test_an_incident_that_has_held_jobs_goes_on_and_another_is_closed(house):
    async def story(f):
        f.incident("outage", "smol")
        held = f.incident("own_fault", "smol")
        f.store.hset(f"of:incident:{held}", "held", 1)
        assert await f.look() == [held]

    house(story)
