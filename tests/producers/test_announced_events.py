"""An announcement carries its event: a reader that is up to date reads no list, and no reader misses an event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from openfall.config import LoadedConfig
from openfall.producers import job_stream
from openfall.producers.client_store import ClientStore
from openfall.producers.job_request import JobRequest, prepare
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.jobs.stream_pieces import MAX_PIECE_CHARACTERS, Piece, TextPiece, ThinkingPiece, pack_events
from openfall.router_core.state import job_events
from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.job_events import Announcement, continue_from
from openfall.router_core.state.jobs import end_job
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, WorkerIdentity

EVENT = b'{"event":"delta","text":"x"}'
ROW = {"event": "delta", "text": "x"}


@pytest.fixture(autouse=True)
def _only_announcements_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_events, "POLL_INTERVAL_SECONDS", 3600.0)


@pytest.mark.parametrize(
    ("announced", "events"),
    [
        ([Announcement(3, EVENT), Announcement(4, EVENT)], [ROW, ROW]),
        ([Announcement(2, EVENT), Announcement(3, EVENT)], [ROW]),
        ([Announcement(1, EVENT)], []),
        ([Announcement(4, EVENT)], None),
        ([Announcement(3, EVENT), Announcement()], None),
        ([], None),
    ],
    ids=["the next ones", "one that is known", "all are known", "a gap", "one without its event", "a poll"],
)
def test_a_reader_takes_announced_events_only_if_they_follow_its_cursor(
    announced: list[Announcement], events: list[dict[str, Any]] | None
) -> None:
    assert continue_from(2, announced) == events


@asynccontextmanager
async def started_job(loaded: LoadedConfig, url: str) -> AsyncIterator[tuple[ClientStore, WorkerQueue, Delivery]]:
    """A client, and a job that a worker has claimed."""
    store = ClientStore(lambda: url, loaded.catalog, "a file")
    try:
        job, terms = prepare(loaded, "tester", JobRequest("hello", {"stream": True}))
        await store.jobs.accept(job, terms)
        identity = WorkerIdentity("claiming-worker", "gpu", (terms.queue,), ("rack",))
        worker = WorkerQueue(
            store.connection, identity, [QueueSubscription(terms.queue, (BackendCapacity("rack", 9),))]
        )
        (delivery,) = (await worker.claim(1, 0)).deliveries
        yield store, worker, delivery
    finally:
        await store.close()


async def follow(store: ClientStore, job_id: str, reading: asyncio.Event) -> list[dict[str, Any]]:
    events = []
    async for event in job_stream.follow(store, job_id):
        events.append(event)
        if event["event"] == "started":
            reading.set()
    return events


def count_reads(server: redis.Redis, name: str) -> int:
    stats: Any = server.info("commandstats")
    return int(stats.get(f"cmdstat_{name}", {}).get("calls", 0))


async def subscribed(server: redis.Redis, delivery: Delivery, reading: asyncio.Event) -> None:
    """Return when the reader is subscribed, and has read what there was before."""
    await reading.wait()
    while not server.pubsub_numsub(f"of:job-changed:{delivery.id}")[0][1]:  # type: ignore[index]
        await asyncio.sleep(0.01)


def test_the_pieces_of_a_stream_are_read_without_the_list(
    loaded: LoadedConfig, redis_url: str, store: redis.Redis
) -> None:
    async def story() -> None:
        async with asyncio.timeout(60), started_job(loaded, redis_url) as (client, worker, delivery):
            reading = asyncio.Event()
            following = asyncio.create_task(follow(client, delivery.id, reading))
            await subscribed(store, delivery, reading)
            lists_before = count_reads(store, "lrange")
            for batch in range(1, 41):
                await worker.append_pieces(delivery, pack_events([TextPiece(0, f"{batch} ")]), batch)
            await end_job(client.connection, ended(delivery), rq_status="canceled")
            events = await following
            assert "".join(event["text"] for event in events if event["event"] == "delta").split() == [
                str(batch) for batch in range(1, 41)
            ]
            assert [event["cursor"] for event in events[:-1]] == list(range(1, len(events)))
            assert count_reads(store, "lrange") - lists_before <= 3  # a confirmation, the end, and one of a race

    asyncio.run(story())


def ended(delivery: Delivery) -> Result:
    return Result(id=delivery.id, status=Status.CANCELLED)


def test_a_long_event_is_announced_without_its_text_and_read_from_the_list(
    loaded: LoadedConfig, redis_url: str, store: redis.Redis
) -> None:
    async def story() -> None:
        async with asyncio.timeout(60), started_job(loaded, redis_url) as (client, worker, delivery):
            reading = asyncio.Event()
            following = asyncio.create_task(follow(client, delivery.id, reading))
            await subscribed(store, delivery, reading)
            long: list[Piece] = [ThinkingPiece(0, "y" * 2 * MAX_PIECE_CHARACTERS), TextPiece(0, "x")]
            await worker.append_pieces(delivery, pack_events(long), 1)
            await end_job(client.connection, ended(delivery), rq_status="canceled")
            pieces = [piece for event in await following for piece in event.get("pieces", ())]
            assert sum(len(piece.text) for piece in pieces) == 2 * MAX_PIECE_CHARACTERS + 1

    asyncio.run(story())


def test_a_batch_of_pieces_that_arrives_twice_is_read_once(
    loaded: LoadedConfig, redis_url: str, store: redis.Redis
) -> None:
    async def story() -> None:
        async with asyncio.timeout(60), started_job(loaded, redis_url) as (client, worker, delivery):
            for batch in (1, 1, 2, 1, 2):
                assert await worker.append_pieces(delivery, pack_events([TextPiece(0, f"{batch} ")]), batch)
            await end_job(client.connection, ended(delivery), rq_status="canceled")
            events = [event async for event in job_stream.follow(client, delivery.id)]
            assert [event["text"] for event in events if event["event"] == "delta"] == ["1 ", "2 "]

    asyncio.run(story())


def test_a_waiter_reads_nothing_for_the_pieces_of_a_stream(
    loaded: LoadedConfig, redis_url: str, store: redis.Redis
) -> None:
    async def story() -> None:
        async with asyncio.timeout(60), started_job(loaded, redis_url) as (client, worker, delivery):
            waiting = asyncio.create_task(job_stream.wait_result(client, delivery.id, None))
            reading = asyncio.Event()
            reading.set()
            await subscribed(store, delivery, reading)
            reads_before = count_reads(store, "get")
            for batch in range(1, 41):
                await worker.append_pieces(delivery, pack_events([TextPiece(0, "x")]), batch)
            await end_job(client.connection, ended(delivery), rq_status="canceled")
            assert (await waiting).status is Status.CANCELLED
            assert count_reads(store, "get") - reads_before <= 4

    asyncio.run(story())
