"""Slots that are kept for interactive jobs, and the share of the claims that the less urgent get while others wait."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.state.breakers import BreakerOverride, ProbeResult, force_breaker
from openfall.router_core.state.breakers import report_probe as report_probe
from openfall.router_core.state.jobs import JobStore, SubmitTerms
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, WorkerIdentity
from openfall.router_core.vocabulary import BreakerState, CallSignal
from tests.router_core.state.conftest import Clock
from tests.router_core.state.reference_fair_share import URGENCIES, Plain

INTERACTIVE, BACKGROUND, BATCH = QUEUES = tuple(f"gpu.smol.{urgency}" for urgency in URGENCIES)
SHARES = {INTERACTIVE: 0.0, BACKGROUND: 0.1, BATCH: 0.05}


def drained(slots=1, reserved=0, shares=SHARES, queues=QUEUES):
    seat = (BackendCapacity("box", slots, (), reserved),)
    return [QueueSubscription(queue, seat, min_share=shares.get(queue, 0.0)) for queue in queues]


def urgency(delivery):
    return delivery.queue.rpartition(".")[2]


async def one_after_another(f, worker, count, want=1):
    """The urgencies of the jobs of `count` claims, while more jobs wait than the backend has slots."""
    brought = []
    for _ in range(count):
        claimed = (await worker.claim(want, 0)).deliveries
        brought += [urgency(delivery) for delivery in claimed]
        for delivery in claimed:
            await f.settle(worker, delivery)
    return brought


def test_while_interactive_jobs_wait_the_others_get_their_share_of_the_claims(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *drained())
        for queue in QUEUES:
            await f.enqueue(400, queue)
        brought = Counter(await one_after_another(f, worker, 400))
        assert brought == {"interactive": 342, "background": 39, "batch": 19}  # but for the last account, all of it

    fleet(story)


def test_the_share_holds_for_claims_of_many_jobs_too(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *drained(slots=8))
        for queue in QUEUES:
            await f.enqueue(400, queue)
        brought = Counter(await one_after_another(f, worker, 50, want=8))
        assert brought["background"] >= 36
        assert brought["batch"] >= 18
        assert brought["interactive"] >= 340

    fleet(story)


def test_the_share_is_the_fleets_and_not_each_workers(fleet):
    async def story(f):
        workers = [await f.start_worker(f"w{n}", *drained()) for n in range(4)]
        for queue in (INTERACTIVE, BATCH):
            await f.enqueue(200, queue)
        brought = Counter()
        for _ in range(50):
            for worker in workers:
                brought.update(await one_after_another(f, worker, 1))
        assert brought["batch"] in (9, 10)

    fleet(story)


def test_nothing_is_written_while_no_job_is_kept_waiting(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *drained())
        await f.enqueue(20, INTERACTIVE)
        await one_after_another(f, worker, 20)
        await f.enqueue(20, BATCH)
        assert set(await one_after_another(f, worker, 20)) == {"batch"}
        assert not f.store.exists("of:credits:gpu")

    fleet(story)


def test_an_urgency_without_a_share_waits_until_the_others_are_done(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *drained(shares={}))
        await f.enqueue(30, INTERACTIVE)
        await f.enqueue(1, BATCH)
        assert await one_after_another(f, worker, 31) == ["interactive"] * 30 + ["batch"]
        assert not f.store.exists("of:credits:gpu")

    fleet(story)


@pytest.mark.parametrize("hindrance", ["paused", "open breaker"])
def test_a_job_that_could_not_be_called_gains_no_credit(fleet, hindrance):
    async def story(f):
        queue = "gpu.large.batch"
        worker = await f.start_worker(
            "wa", *drained(queues=(INTERACTIVE,)), QueueSubscription(queue, (BackendCapacity("box", 1),), min_share=0.5)
        )
        await f.enqueue(20, INTERACTIVE)
        await f.enqueue(1, queue)
        if hindrance == "paused":
            f.store.sadd("of:paused", queue)
        else:
            await force_breaker(
                f.link, "box/large", BreakerOverride(BreakerState.OPEN, "a test", 3600), BreakerPolicy()
            )
        await one_after_another(f, worker, 20)
        assert not f.store.exists("of:credits:gpu")

    fleet(story)


def test_credit_that_no_waiting_job_can_use_is_lost(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *drained())
        f.store.hset("of:credits:gpu", "batch", 5200)
        await f.enqueue(2, INTERACTIVE)
        assert await one_after_another(f, worker, 2) == ["interactive"] * 2
        assert f.store.hgetall("of:credits:gpu") == {b"batch": b"0"}

    fleet(story)


def test_unused_credit_stays_bounded(fleet):
    async def story(f):
        box, tower = (BackendCapacity("box", 1),), (BackendCapacity("tower", 1),)
        worker = await f.start_worker(
            "wa",
            QueueSubscription(INTERACTIVE, box),
            QueueSubscription("gpu.large.batch", tower, min_share=0.5),
        )
        await f.enqueue(100, INTERACTIVE)
        await f.enqueue(100, "gpu.large.batch")
        first, held = (await worker.claim(2, 0)).deliveries
        assert held.backend == "tower", "it has the only free slot"
        await f.settle(worker, first)
        await one_after_another(f, worker, 80)
        assert f.store.hgetall("of:credits:gpu") == {b"batch": b"8000"}

    fleet(story)


def test_reserved_slots_are_for_interactive_jobs_alone(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *drained(slots=4, reserved=1))
        for queue in (BACKGROUND, BATCH):
            await f.enqueue(9, queue)
        claim = await worker.claim(9, 0)
        assert [urgency(delivery) for delivery in claim.deliveries] == ["background"] * 3
        assert claim.more_waiting
        await f.enqueue(2, INTERACTIVE)
        assert [urgency(delivery) for delivery in (await worker.claim(9, 3)).deliveries] == ["interactive"]
        assert not (await worker.claim(9, 4)).deliveries

    fleet(story)


def test_interactive_jobs_may_use_all_slots_and_reserved_ones_first(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *drained(slots=4, reserved=1))
        await f.enqueue(4, INTERACTIVE)
        first = (await worker.claim(9, 0)).deliveries
        assert len(first) == 4
        await f.enqueue(9, BATCH)
        assert not (await worker.claim(9, 4)).deliveries
        for delivery in first[:2]:
            await f.settle(worker, delivery)
        assert [urgency(delivery) for delivery in (await worker.claim(9, 2)).deliveries] == ["batch"] * 2

    fleet(story)


def test_an_empty_queue_leaves_no_job_waiting_for_a_slot(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *drained(slots=9))
        assert not (await worker.claim(4, 0, max_not_interactive=0)).more_waiting, "or an idle worker would poll"
        await f.enqueue(1, BATCH)
        assert (await worker.claim(4, 0, max_not_interactive=0)).more_waiting

    fleet(story)


def test_a_claim_limits_the_jobs_that_are_not_interactive(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *drained(slots=9))
        await f.enqueue(9, BATCH)
        claim = await worker.claim(4, 0, max_not_interactive=1)
        assert ([urgency(delivery) for delivery in claim.deliveries], claim.more_waiting) == (["batch"], True)
        await f.enqueue(2, INTERACTIVE)
        claim = await worker.claim(4, 1, max_not_interactive=1)
        assert [urgency(delivery) for delivery in claim.deliveries] == ["interactive", "interactive", "batch"]

    fleet(story)


def test_a_turn_never_takes_a_reserved_slot(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *drained(slots=2, reserved=1))
        await f.enqueue(1, BATCH)
        (running,) = (await worker.claim(9, 0)).deliveries
        assert running.queue == BATCH
        f.store.hset("of:credits:gpu", "batch", 3000)
        await f.enqueue(5, BATCH)
        await f.enqueue(1, INTERACTIVE)
        assert [urgency(delivery) for delivery in (await worker.claim(9, 1)).deliveries] == ["interactive"]

    fleet(story)


def test_during_a_ramp_the_reserved_slots_come_back_first(fleet):
    async def story(f):
        policy = BreakerPolicy(slow_start=100, probe_successes=1)
        worker = await f.start_worker("wa", *drained(slots=4, reserved=1), policy=policy)
        await force_breaker(f.link, "box/smol", BreakerOverride(BreakerState.OPEN, "a test", 5), policy)
        await f.pass_time(6, (worker, ()))
        (probe,) = (await worker.claim(1, 0)).probes
        await report_probe(f.link, probe, ProbeResult(CallSignal.OK, "", 0, 0.5), policy)
        await f.enqueue(9, BATCH)
        assert not (await worker.claim(9, 0)).deliveries
        await f.enqueue(9, INTERACTIVE)
        assert [urgency(delivery) for delivery in (await worker.claim(9, 0)).deliveries] == ["interactive"]

    fleet(story)


class Side:
    """The scripts beside the plain model: the same jobs, the same claims."""

    def __init__(self, link, slots, reserved, shares):
        self.job_store, self.numbers = JobStore(link), Counter()
        min_shares = {queue: shares.get(name, 0) / 1000 for queue, name in zip(QUEUES, URGENCIES, strict=True)}
        self.worker = WorkerQueue(link, WorkerIdentity("wa", "gpu", (), ()), drained(slots, reserved, min_shares))
        self.running = defaultdict(list)

    async def enqueue(self, fleet_job, which, count):
        for _ in range(count):
            self.numbers[which] += 1
            job = fleet_job(f"{which}-{self.numbers[which]:06}")
            await self.job_store.accept(
                job, SubmitTerms(queue=f"gpu.smol.{which}", expires_after_seconds=600, keep_seconds=60)
            )

    async def claim(self, want):
        brought = (await self.worker.claim(want, 0)).deliveries
        for delivery in brought:
            self.running[urgency(delivery)].append(delivery.id)
        return [urgency(delivery) for delivery in brought]

    async def end(self, which):
        await self.job_store.cancel(self.running[which].pop(0))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("supply"), st.sampled_from(URGENCIES), st.integers(1, 6)),
        st.tuples(st.just("claim"), st.just(""), st.integers(1, 5)),
        st.tuples(st.just("end"), st.sampled_from(URGENCIES), st.integers(1, 3)),
    ),
    min_size=20,
    max_size=60,
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    slots=st.integers(2, 6),
    reserved=st.integers(0, 1),
    shares=st.fixed_dictionaries({"background": st.sampled_from([0, 300]), "batch": st.sampled_from([0, 50, 400])}),
    steps=STEPS,
)
def test_claims_match_the_reference_model(redis_url, store, slots, reserved, shares, steps):
    async def story():
        plain = Plain(slots, reserved, shares)
        async with RedisConnection(redis_url, clock=Clock()) as link:
            side = Side(link, slots, reserved, shares)
            for verb, which, count in steps:
                if verb == "supply":
                    await side.enqueue(_job, which, count)
                    plain.waiting[which] += count
                elif verb == "claim":
                    assert await side.claim(count) == plain.claim(count)
                else:
                    for _ in range(min(count, plain.running[which])):
                        await side.end(which)
                        plain.end(which)
        credit = {name.decode(): int(kept) for name, kept in store.hgetall("of:credits:gpu").items()}
        assert {name: credit.get(name, 0) for name in URGENCIES} == plain.credit

    store.flushall()
    asyncio.run(story())


def _job(job_id):
    return CompletionJob(id=job_id, producer="tests", chain=("smol",), body={"messages": []})
