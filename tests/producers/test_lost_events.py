"""A failover of Redis can lose the last events of a job. A reader gets every piece once and in order, or a `reset`.

Here the server loses them as a failover does: its data is older, and every connection is cut."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from openfall.config import LoadedConfig
from openfall.producers import job_stream
from openfall.producers.client_store import ClientStore
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.jobs.stream_pieces import TextPiece, pack_events
from openfall.router_core.state import job_events
from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.errors import UnknownJob
from openfall.router_core.state.jobs import end_job
from openfall.router_core.state.worker_queue import WorkerQueue
from tests.producers.test_announced_events import started_job

BATCHES = 6


@pytest.fixture(autouse=True)
def _polls_are_frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_events, "POLL_INTERVAL_SECONDS", 0.05)


class Reader:
    """Follows a job in the background."""

    def __init__(self, client: ClientStore, job_id: str) -> None:
        self.events: list[dict[str, Any]] = []
        self.task = asyncio.create_task(self._follow(client, job_id))

    async def _follow(self, client: ClientStore, job_id: str) -> None:
        async for event in job_stream.follow(client, job_id):
            self.events.append(event)

    @property
    def texts(self) -> list[str]:
        """The pieces after the last `reset`."""
        texts: list[str] = []
        for event in self.events:
            texts = [] if event["event"] == "reset" else [*texts, *([event["text"]] if "text" in event else [])]
        return texts

    async def wait_for_pieces(self, count: int) -> None:
        while len(self.texts) < count:
            await asyncio.sleep(0.01)


def lose(server: redis.Redis, job_id: str, events: int) -> None:
    """Lose the last events of a job, all of them pieces, and cut every connection."""
    with server.pipeline() as at_once:
        at_once.ltrim(f"of:events:{job_id}", 0, -1 - events)
        at_once.hincrby(f"of:job:{job_id}", "pieces", -events)
        at_once.execute()
    server.client_kill_filter(_type="normal", skipme=True)
    server.client_kill_filter(_type="pubsub", skipme=True)


async def write(worker: WorkerQueue, delivery: Delivery, word: str, *batches: int) -> int | None:
    known = None
    for batch in batches:
        known = await worker.append_pieces(delivery, pack_events([TextPiece(0, f"{word}{batch}")]), batch)
    return known


async def end(client: ClientStore, delivery: Delivery) -> None:
    await end_job(client.connection, Result(id=delivery.id, status=Status.CANCELLED), rq_status="canceled")


@pytest.mark.parametrize("lost", [1, 3, BATCHES])
def test_pieces_that_are_lost_are_asked_of_the_worker_and_read_once(
    loaded: LoadedConfig, redis_url: str, store: redis.Redis, lost: int
) -> None:
    async def story() -> None:
        async with asyncio.timeout(60), started_job(loaded, redis_url) as (client, worker, delivery):
            reader = Reader(client, delivery.id)
            await write(worker, delivery, "a", *range(1, BATCHES + 1))
            await reader.wait_for_pieces(BATCHES)
            lose(store, delivery.id, lost)
            assert await write(worker, delivery, "a", BATCHES + 1) == BATCHES - lost
            assert await write(worker, delivery, "a", *range(BATCHES - lost + 1, BATCHES + 2)) == BATCHES + 1
            await reader.wait_for_pieces(BATCHES + 1)
            await end(client, delivery)
            await reader.task
            assert reader.texts == [f"a{batch}" for batch in range(1, BATCHES + 2)]
            assert "reset" not in [event["event"] for event in reader.events]

    asyncio.run(story())


@pytest.mark.parametrize("new", [BATCHES - 2, BATCHES, BATCHES + 3], ids=["fewer", "as many", "more"])
def test_pieces_of_another_delivery_follow_a_reset_from_the_first_on(
    loaded: LoadedConfig, redis_url: str, store: redis.Redis, new: int
) -> None:
    async def story() -> None:
        async with asyncio.timeout(60), started_job(loaded, redis_url) as (client, worker, delivery):
            reader = Reader(client, delivery.id)
            await write(worker, delivery, "a", *range(1, BATCHES + 1))
            await reader.wait_for_pieces(BATCHES)
            lose(store, delivery.id, BATCHES)
            await write(worker, delivery, "b", *range(1, new + 1))
            await end(client, delivery)
            await reader.task
            assert reader.texts == [f"b{batch}" for batch in range(1, new + 1)]
            assert [event["event"] for event in reader.events].count("reset") == 1
            assert reader.events[-1]["event"] == "done"

    asyncio.run(story())


def test_a_reader_of_a_job_that_is_lost_learns_it(loaded: LoadedConfig, redis_url: str, store: redis.Redis) -> None:
    async def story() -> None:
        async with asyncio.timeout(60), started_job(loaded, redis_url) as (client, worker, delivery):
            reader = Reader(client, delivery.id)
            await write(worker, delivery, "a", 1)
            await reader.wait_for_pieces(1)
            store.delete(*(f"of:{kind}:{delivery.id}" for kind in ("job", "prompt", "events")))
            lose(store, "another", 0)
            with pytest.raises(UnknownJob):
                await reader.task

    asyncio.run(story())
