"""Fairness among the producers of a queue: they take turns, so one producer cannot fill the queue before another."""

from __future__ import annotations

import asyncio
from itertools import chain

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from openfall.router_core.deciding.steps import Handoff
from openfall.router_core.state.errors import QueueFull
from openfall.router_core.state.fleet_status import fetch_status
from openfall.router_core.state.reap_and_sweep import move, sweep
from tests.router_core.state.conftest import QUEUE
from tests.router_core.state.reference_queue import ReferenceQueue
from tests.router_core.state.test_rq_tools import swept

NIGHT, BOT = "night-batch", "bot"


async def claim_all(f, worker, count):
    """The ids of the next `count` claims of one job each: one slot is free at a time."""
    ids = []
    for _ in range(count):
        delivery = await f.claim(worker)
        ids.append(delivery.id)
        await f.settle(worker, delivery)
    return ids


def test_one_producers_10000_jobs_do_not_stand_before_anothers_one(fleet):
    async def story(f):
        worker = await f.worker(slots=1)
        many = await f.enqueue(10_000, producer=NIGHT)
        running = await f.claim(worker)
        receipt = await f.accept("job-of-bot", job={"producer": BOT})
        assert receipt.position == 2
        await f.settle(worker, running)
        assert await claim_all(f, worker, 3) == [many[1], "job-of-bot", many[2]]

    fleet(story)


def test_producers_take_turns_and_each_keeps_its_order(fleet):
    async def story(f):
        worker = await f.worker(slots=1)
        night = await f.enqueue(6, producer=NIGHT)
        bot = await f.enqueue(3, producer=BOT)
        other = await f.enqueue(1, producer="other")
        assert await claim_all(f, worker, 10) == [
            night[0], bot[0], other[0], night[1], bot[1], night[2], bot[2], *night[3:],
        ]  # fmt: skip
        await sweep(f.link, clean=False)
        assert [key for key in f.store.keys("*") if b"~" in key or b"listed" in key or b"backlogs" in key] == []

    fleet(story)


def test_a_claim_of_many_jobs_takes_turns_too(fleet):
    async def story(f):
        worker = await f.worker(slots=8)
        night = await f.enqueue(20, producer=NIGHT)
        bot = await f.enqueue(2, producer=BOT)
        deliveries = (await worker.claim(8, 0)).deliveries
        assert [delivery.id for delivery in deliveries] == [night[0], bot[0], night[1], bot[1], *night[2:6]]

    fleet(story)


def test_a_queue_of_one_producer_is_one_list(fleet):
    async def story(f):
        ids = await f.enqueue(100)
        assert [job_id.decode() for job_id in f.store.lrange("rq:queue:" + QUEUE, 0, -1)] == ids
        assert not f.store.exists("of:backlogs")

    fleet(story)


def test_10000_producers_with_one_job_each_are_served_in_the_order_of_arrival(fleet):
    async def story(f):
        worker = await f.worker(slots=8)
        await asyncio.gather(*(
            f.accept(f"job-{n:05}", job={"producer": f"producer-{n}"}) for n in range(10_000)
        ))  # fmt: skip
        assert f.store.llen("rq:queue:" + QUEUE) == 10_000
        deliveries = (await worker.claim(8, 0)).deliveries
        assert [delivery.id for delivery in deliveries] == [f"job-{n:05}" for n in range(8)]

    fleet(story)


def test_the_jobs_in_front_of_a_queue_go_before_all_turns(fleet):
    async def story(f):
        worker = await f.worker(slots=1)
        (night, *_) = await f.enqueue(4, producer=NIGHT)
        delivery = await f.claim(worker)
        await f.enqueue(2, producer=BOT)
        await f.settle(worker, delivery, None)
        assert (await f.claim(worker)).id == night

    fleet(story)


def test_position_and_status_count_the_jobs_that_wait_for_a_turn(fleet):
    async def story(f):
        night = await f.enqueue(50, producer=NIGHT)
        bot = await f.enqueue(3, producer=BOT)
        places = [await f.job_store.position(job_id) for job_id in (night[0], bot[0], night[1], bot[2], night[49])]
        assert places == [1, 2, 4, 6, 53]
        (queue,) = (await fetch_status(f.link)).queues
        assert (queue.name, queue.waiting) == (QUEUE, 53)

    fleet(story)


def test_a_producer_that_fills_the_queue_does_not_shut_out_another(fleet):
    async def story(f):
        for n in range(20):
            await f.accept(f"night-{n:05}", job={"producer": NIGHT}, max_queued=20)
        with pytest.raises(QueueFull, match="20 waiting jobs are before this one"):
            await f.accept("night-00020", job={"producer": NIGHT}, max_queued=20)
        for n in range(10):
            await f.accept(f"bot-{n:05}", job={"producer": BOT}, max_queued=20)
        with pytest.raises(QueueFull):
            await f.accept("bot-00010", job={"producer": BOT}, max_queued=20)

    fleet(story)


def test_the_sweep_finds_jobs_that_wait_for_a_turn_in_a_stranded_queue(fleet):
    async def story(f):
        await f.enqueue(30, producer=NIGHT)
        await f.enqueue(30, producer=BOT)
        _, jobs = await sweep(f.link, (QUEUE,), clean=False)
        assert len({job.id for job in jobs if job.cause == "stranded"}) == 60
        for job in jobs:
            assert await move(f.link, job, Handoff("large", False), "gpu.large.background")
        (queue,) = [queue for queue in (await fetch_status(f.link)).queues if queue.waiting]
        assert (queue.name, queue.waiting) == ("gpu.large.background", 60)

    fleet(story)


def test_the_sweep_examines_every_job_of_a_blocked_queue_in_turn(fleet):
    async def story(f):
        ids = [*await f.enqueue(150, producer=NIGHT), *await f.enqueue(120, producer=BOT)]
        examined = set()
        for _ in range(3):
            _, jobs = await sweep(f.link, blocked=(QUEUE,), clean=False)
            examined |= {job.id for job in jobs if job.cause == "blocked"}
            f.clock.now += 1
        assert examined == set(ids)

    fleet(story)


def test_the_oldest_job_of_a_queue_may_wait_for_its_turn(fleet):
    async def story(f):
        worker = await f.worker(slots=1)
        f.clock.now -= 100
        await f.enqueue(2, producer=NIGHT)
        f.clock.now += 100
        (bot,) = await f.enqueue(1, producer=BOT)
        await claim_all(f, worker, 1)
        (head, _) = f.store.lrange("rq:queue:" + QUEUE, 0, -1)
        assert head.decode() == bot
        (queue,) = (await fetch_status(f.link)).queues
        assert queue.oldest_seconds >= 100

    fleet(story)


def rq_job(f, job_id):
    return Job.fetch(job_id, connection=f.store, serializer=JSONSerializer)


@pytest.mark.parametrize("how", ["cancel", "delete"])
@pytest.mark.parametrize("place", ["in its turn", "in the backlog"])
def test_rqs_own_cancel_and_delete_end_jobs_of_any_place(fleet, how, place):
    async def story(f):
        worker = await f.worker(slots=1)
        night = await f.enqueue(4, producer=NIGHT)
        await f.enqueue(1, producer=BOT)
        gone = night[0 if place == "in its turn" else 1]
        getattr(rq_job(f, gone), how)()
        ids = []
        for _ in range(4):
            if not (claim := await worker.claim(1, 0)).deliveries:
                await swept(f)
                claim = await worker.claim(1, 0)
            (delivery,) = claim.deliveries
            ids.append(delivery.id)
            await f.settle(worker, delivery)
        assert gone not in ids
        await swept(f)
        assert (await f.job_store.record(gone)).state == "done"
        assert f.store.keys("rq:queue:*") == []

    fleet(story)


def test_rqs_tools_see_a_backlog_as_a_queue_and_can_empty_it(fleet):
    async def story(f):
        worker = await f.worker(slots=1)
        night = await f.enqueue(4, producer=NIGHT)
        (bot,) = await f.enqueue(1, producer=BOT)
        queues = {queue.name: queue for queue in Queue.all(f.store, serializer=JSONSerializer)}
        assert {name: queue.count for name, queue in queues.items()} == {QUEUE: 2, f"{QUEUE}~{NIGHT}": 3}
        queues[f"{QUEUE}~{NIGHT}"].empty()
        assert sorted(await swept(f)) == ["deleted"] * 3
        assert await claim_all(f, worker, 2) == [night[0], bot]
        await sweep(f.link, clean=True)
        assert (f.store.exists("of:backlogs"), f.store.smembers("rq:queues")) == (0, {b"rq:queue:" + QUEUE.encode()})

    fleet(story)


@pytest.mark.parametrize("value", [None, "garbage", "rq:queue:gpu.other.batch~x"])
def test_a_backlog_is_no_queue_of_its_own_in_the_status_also_while_its_index_is_damaged(fleet, value):
    async def story(f):
        await f.worker(slots=1)
        await f.enqueue(4, producer=NIGHT)
        await f.enqueue(1, producer=BOT)
        f.store.delete("of:backlogs")
        if value is not None:
            f.store.sadd("of:backlogs", value)
        assert [queue.name for queue in (await fetch_status(f.link)).queues] == [QUEUE]

    fleet(story)


def test_a_producer_whose_turn_a_tool_removed_gets_another_from_the_sweep(fleet):
    async def story(f):
        worker = await f.worker(slots=1)
        night = await f.enqueue(300, producer=NIGHT)
        await f.enqueue(300, producer=BOT)
        f.store.lrem("rq:queue:" + QUEUE, 1, night[0])
        await sweep(f.link, clean=False)
        assert night[1] in await claim_all(f, worker, 2)

    fleet(story)


def test_a_producer_whose_backlog_a_tool_emptied_has_one_turn_in_a_round_again(fleet):
    async def story(f):
        worker = await f.worker(slots=1)
        await f.enqueue(20, producer=NIGHT)
        await f.enqueue(20, producer=BOT)
        Queue(f"{QUEUE}~{NIGHT}", connection=f.store, serializer=JSONSerializer).empty()
        later = await f.enqueue(20, producer=NIGHT)
        assert len(await swept(f)) == 19
        await sweep(f.link, clean=False)
        ids = await claim_all(f, worker, 20)
        assert len([job_id for job_id in ids if job_id in later]) in (8, 9, 10)

    fleet(story)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), st.sampled_from("abcd"), st.integers(1, 5)),
        st.tuples(st.just("claim"), st.just(""), st.integers(1, 9)),
        st.tuples(st.just("cancel"), st.just(""), st.integers(0, 30)),
    ),
    min_size=10,
    max_size=40,
)


def test_any_order_of_arrivals_is_claimed_in_turns(fleet, store):
    """Claims of many jobs follow the reference; and while a producer waits, no other is served twice before it."""

    @settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
    @given(steps=STEPS)
    def check(steps):
        store.flushall()
        fleet(lambda f: _follow(f, steps))

    check()


class Turns(ReferenceQueue):
    """A queue that checks its turns: while a producer waits, no other has two."""

    def __init__(self) -> None:
        super().__init__({})
        self.served_while_waiting: dict[str, set[str]] = {}

    def accept(self, job_id, producer):
        self.producer_of[job_id] = producer
        self.append(job_id)
        self.served_while_waiting.setdefault(producer, set())

    def pop_first(self):
        job_id = super().pop_first()
        producer = self.producer_of[job_id]
        self.served_while_waiting[producer] = set()
        self.forget_absent()
        for name, served in self.served_while_waiting.items():
            if name != producer:
                assert producer not in served, f"{producer} had two turns while {name} waited"
                served.add(producer)
        return job_id

    def cancel(self, job_id):
        """The turn of a cancelled job is lost: its producer's next job waits for another."""
        self.remove(job_id)
        self.served_while_waiting[self.producer_of[job_id]] = set()
        self.forget_absent()

    def forget_absent(self):
        counts = self.counts()
        self.served_while_waiting = {n: served for n, served in self.served_while_waiting.items() if n in counts}


async def _follow(f, steps):
    queue, worker = Turns(), await f.worker(slots=10_000)
    for verb, producer, count in steps:
        if verb == "accept":
            for job_id in await f.enqueue(count, producer=producer):
                queue.accept(job_id, producer)
        elif verb == "claim":
            expected = [queue.pop_first() for _ in range(min(count, len(queue)))]
            assert [delivery.id for delivery in (await worker.claim(count, 0)).deliveries] == expected
        elif len(queue):
            job_id = [*queue.listed, *chain.from_iterable(queue.backlogs.values())][count % len(queue)]
            await f.job_store.cancel(job_id)
            queue.cancel(job_id)
