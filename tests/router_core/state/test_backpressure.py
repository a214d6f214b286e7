"""What is refused before there is too much of it: a queue that is as deep as it may be, a Redis that is nearly full."""

from __future__ import annotations

import asyncio

import pytest

from openfall.router_core.deciding.steps import Handoff
from openfall.router_core.state import keys
from openfall.router_core.state.errors import MemoryPressure, QueueFull, StoreFull
from openfall.router_core.state.fleet_status import MemoryRefusals, fetch_status
from openfall.router_core.state.memory_pressure import MEMORY_PRESSURE_TTL_SECONDS, check_memory

JOB = "job-00001"


async def fill(f, count=3):
    for n in range(count):
        await f.accept(f"job-1{n:04}", max_queued=count)


def test_a_full_queue_refuses_one_job_more_and_writes_nothing(fleet):
    async def story(f):
        await fill(f)
        before = f.dump()
        with pytest.raises(QueueFull) as caught:
            await f.accept("job-20000", max_queued=3, idempotency_key="k")
        refused = caught.value
        assert (refused.queue, refused.waiting, refused.limit, refused.retry_after) == (f.queue, 3, 3, 60)
        assert f"queue {f.queue} is full: 3 waiting jobs are before this one, and its maximum is 3 " in str(refused)
        assert "`urgency: {background: {max_queued: ...}}`" in str(refused)
        assert f.dump() == before

    fleet(story)


def test_a_full_queue_accepts_a_job_as_soon_as_one_was_claimed(fleet):
    async def story(f):
        await fill(f)
        await f.claim(await f.worker())
        assert (await f.accept("job-20000", max_queued=3)).position == 3

    fleet(story)


def test_a_full_queue_acknowledges_a_job_that_it_has(fleet):
    async def story(f):
        first = await f.accept(JOB, max_queued=1, idempotency_key="k")
        assert (await f.accept(JOB, max_queued=1, idempotency_key="k")).deadline == first.deadline
        joined = await f.accept("job-20000", max_queued=1, idempotency_key="k")
        assert (joined.id, joined.joined) == (JOB, True)

    fleet(story)


def test_each_queue_has_its_own_limit(fleet):
    async def story(f):
        await fill(f)
        assert (await f.accept("job-20000", max_queued=3, queue="gpu.smol.interactive")).position == 1

    fleet(story)


def test_concurrent_submits_never_exceed_the_limit_of_a_queue(fleet):
    async def story(f):
        answers = await asyncio.gather(
            *(f.accept(f"job-1{n:04}", max_queued=10) for n in range(40)), return_exceptions=True
        )
        assert sum(isinstance(answer, QueueFull) for answer in answers) == 30
        assert f.store.llen("rq:queue:" + f.queue) == f.counter("accepted") == 10

    fleet(story)


def test_an_accepted_job_returns_to_a_full_queue(fleet):
    """A hand-off, a put-back and a replay are of jobs that were accepted before."""

    async def story(f):
        worker = await f.worker(queues=("gpu.large.background",))
        await f.accept(JOB, queue="gpu.large.background")
        delivery = await f.claim(worker)
        await fill(f)
        assert await f.settle(worker, delivery, Handoff("smol", False)) == "settled"
        assert f.rq_places(JOB) == [("queue", f.queue)]
        other = await f.worker("worker-b")
        assert await f.settle(other, await f.claim(other), None) == "settled"
        assert f.store.llen("rq:queue:" + f.queue) == 4

    fleet(story)


@pytest.mark.parametrize(
    ("answered", "seconds"),
    [(0, 60), (1, 12), (6, 2), (30, 1)],
    ids=["nothing moves", "slowly", "well", "faster than it can be submitted again"],
)
def test_retry_after_follows_from_the_answers_of_the_last_minute(fleet, answered, seconds):
    async def story(f):
        worker = await f.worker(slots=64)
        ids = await f.enqueue(answered + 2)
        for _ in ids[:2]:  # too long ago to tell of the pace
            await f.settle(worker, await f.claim(worker))
        await f.pass_time(62, (worker, ()))
        for _ in range(answered):
            await f.settle(worker, await f.claim(worker))
        await f.enqueue(2)
        with pytest.raises(QueueFull) as caught:
            await f.accept("job-20000", max_queued=2, keep_seconds=900)
        assert caught.value.retry_after == seconds

    fleet(story)


def memory_of(f, used_share):
    """Set `maxmemory` so that this share of it is used."""
    used = f.store.info("memory")["used_memory"]
    f.store.config_set("maxmemory", int(used / used_share))


def why_refused(f):
    """What Redis has of its memory pressure; None: jobs are accepted."""
    why = f.store.get(keys.MEMORY_PRESSURE)
    return None if why is None else why.decode()


@pytest.fixture
def roomy(redis_url, store):
    """Whatever a test says of memory, the next one finds a server without a limit."""
    yield
    store.config_set("maxmemory", 0)


@pytest.mark.usefixtures("roomy")
def test_a_redis_that_is_nearly_full_accepts_no_job_and_names_the_remedy(fleet):
    async def story(f):
        await f.accept(JOB)
        memory_of(f, 0.9)
        why = await check_memory(f.link, 0.85)
        assert "MiB of memory (maxmemory)" in why
        assert why_refused(f) == why
        with pytest.raises(MemoryPressure, match="raise `maxmemory`") as caught:
            await f.accept("job-00002")
        assert caught.value.retry_after == 5
        assert not isinstance(caught.value, StoreFull), "Redis itself has refused nothing yet"
        assert f.rq_places("job-00002") == []
        assert (await f.accept(JOB)).id == JOB, "what it has it says it has"

    fleet(story)


@pytest.mark.usefixtures("roomy")
def test_jobs_in_flight_end_under_memory_pressure(fleet):
    async def story(f):
        await f.accept(JOB)
        worker = await f.worker()
        memory_of(f, 1.1)  # and Redis itself refuses by now
        assert await check_memory(f.link, 0.85)
        delivery = await f.claim(worker)
        assert await f.settle(worker, delivery) == "settled"

    fleet(story)


@pytest.mark.usefixtures("roomy")
def test_jobs_are_accepted_again_when_memory_is_free_and_pressure_is_reported_once(fleet):
    async def story(f):
        memory_of(f, 0.9)
        assert await check_memory(f.link, 0.85)
        f.store.delete("of:lock:pressure")
        assert not await check_memory(f.link, 0.85), "reported before"
        assert why_refused(f)
        memory_of(f, 0.5)
        assert not await check_memory(f.link, 0.85)
        assert why_refused(f), "one look is good for all, for about a second"
        f.store.delete("of:lock:pressure")
        await check_memory(f.link, 0.85)
        assert why_refused(f) is None
        await f.accept(JOB)

    fleet(story)


@pytest.mark.usefixtures("roomy")
def test_a_redis_without_maxmemory_has_no_memory_pressure(fleet):
    async def story(f):
        f.store.config_set("maxmemory", 0)
        assert not await check_memory(f.link, 0.0001)
        assert why_refused(f) is None

    fleet(story)


@pytest.mark.usefixtures("roomy")
def test_a_refusal_ends_by_itself_when_no_worker_checks(fleet):
    async def story(f):
        memory_of(f, 0.9)
        await check_memory(f.link, 0.85)
        assert 0 < f.store.pttl("of:memory-pressure") <= MEMORY_PRESSURE_TTL_SECONDS * 1000

    fleet(story)


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize("used_share", [0.9, 1.1], ids=["openfall refuses", "Redis itself refuses"])
def test_the_status_knows_since_when_jobs_are_refused_and_how_many_were(fleet, used_share):
    async def story(f):
        f.store.hincrby(keys.COUNTERS, "refused_memory", 7)  # of an earlier time
        memory_of(f, used_share)
        assert await check_memory(f.link, 0.85)
        begun = (await fetch_status(f.link)).memory_refusals
        f.store.delete("of:lock:pressure")
        await check_memory(f.link, 0.85)
        for number in range(3):
            with pytest.raises((MemoryPressure, StoreFull)):
                await f.accept(f"job-3{number:04}")
        status = await fetch_status(f.link)
        maxmemory = int(f.store.config_get("maxmemory")["maxmemory"])
        assert status.memory_refusals == MemoryRefusals(begun.since, maxmemory, 3)
        assert begun.refused == 0
        assert begun.since <= status.now

    fleet(story)


@pytest.mark.usefixtures("roomy")
def test_refusals_after_a_free_time_are_counted_from_zero(fleet):
    async def story(f):
        memory_of(f, 0.9)
        await check_memory(f.link, 0.85)
        with pytest.raises(MemoryPressure):
            await f.accept(JOB)
        memory_of(f, 0.5)
        f.store.delete("of:lock:pressure")
        await check_memory(f.link, 0.85)
        assert (await fetch_status(f.link)).memory_refusals is None
        memory_of(f, 0.9)
        f.store.delete("of:lock:pressure")
        assert await check_memory(f.link, 0.85)
        assert (await fetch_status(f.link)).memory_refusals.refused == 0

    fleet(story)


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize("text", [b"\xff", b"yesterday", b"1 2", b"1 2 3 4"])
def test_refusals_that_cannot_be_read_are_unknown_and_are_counted_from_zero(fleet, text):
    async def story(f):
        memory_of(f, 0.9)
        await check_memory(f.link, 0.85)
        f.store.set("of:memory-pressure-since", text, px=5000)
        assert (await fetch_status(f.link)).memory_refusals is None
        f.store.delete("of:lock:pressure")
        await check_memory(f.link, 0.85)
        assert (await fetch_status(f.link)).memory_refusals.refused == 0

    fleet(story)
