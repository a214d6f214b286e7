"""Nothing that waits is forgotten: what the sweep finds, how often, and what a move does to it."""

from __future__ import annotations

import asyncio

import pytest

from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.deciding.steps import Fall, Handoff, Later
from openfall.router_core.jobs.result import Status
from openfall.router_core.state.breakers import BreakerOverride, force_breaker
from openfall.router_core.state.reap_and_sweep import WaitingJob, move, sweep
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import BreakerState, CallSignal, HoldReason

JOB = "job-00001"
SMOL, LARGE, GONE = "gpu.smol.interactive", "gpu.large.interactive", "gpu.removed.background"
NEXT = Handoff("large", True, "its breaker is open")


async def swept(f, *stranded: str) -> list[WaitingJob]:
    return (await sweep(f.link, stranded, clean=False))[1]


async def whys(f, *stranded: str) -> dict[str, str]:
    return {job.id: job.cause for job in await swept(f, *stranded)}


async def waiting(f, job_id: str = JOB, queue: str = SMOL, start_within: float = 5, **terms) -> None:
    await f.accept(job_id, queue=queue, start_within_seconds=start_within, **terms)


@pytest.mark.parametrize(("urgency", "again"), [("interactive", 1), ("background", 5), ("batch", 10)])
def test_a_job_past_its_start_within_is_found_and_then_again_a_little_later(fleet, urgency, again):
    async def story(f):
        await waiting(f, queue=f"gpu.smol.{urgency}")
        f.clock.now += 4.999
        assert await whys(f) == {}
        f.clock.now += 0.001
        assert await whys(f) == {JOB: "late"}
        f.clock.now += again - 0.001
        assert await whys(f) == {}
        f.clock.now += 0.001
        assert await whys(f) == {JOB: "late"}

    fleet(story)


def test_a_swept_job_has_all_that_a_decision_needs(fleet):
    async def story(f):
        await waiting(f, expires_after_seconds=60, job={"role": "chat", "group": "family"})
        f.clock.now += 5
        ((job),) = await swept(f)
        assert (job.queue, job.model, job.deliveries, job.answers) == (SMOL, "smol", 0, ())
        assert (job.accepted_at, job.deadline) == (f.clock.now - 5, f.clock.now + 55)
        assert b'"role":"chat"' in job.head
        assert b"\n" not in job.head

    fleet(story)


def test_a_body_of_megabytes_is_not_read(fleet):
    async def story(f):
        await waiting(f, job={"body": {"messages": [{"role": "user", "content": "x" * (4 << 20)}]}})
        f.clock.now += 5
        before = f.store.info("stats")["total_net_output_bytes"]
        assert len((await swept(f))[0].head) < 1000
        assert f.store.info("stats")["total_net_output_bytes"] - before < 100_000

    fleet(story)


def test_a_scheduled_job_is_found_when_it_is_late_too(fleet):
    async def story(f):
        await waiting(f)
        worker = await f.worker(queues=(SMOL,))
        await f.settle(worker, await f.claim(worker), Later("smol", 300), to=SMOL)
        f.clock.now += 5
        assert await whys(f) == {JOB: "late"}

    fleet(story)


def test_a_started_job_is_not_late(fleet):
    async def story(f):
        await waiting(f, expires_after_seconds=20)
        await f.claim(await f.worker(queues=(SMOL,)))
        for _ in range(10):
            f.clock.now += 5
            assert await whys(f) == {}

    fleet(story)


def test_a_held_job_is_examined_again_at_its_deadline(fleet):
    async def story(f):
        await waiting(f, expires_after_seconds=3600)
        worker = await f.worker(queues=(SMOL,))
        await f.settle(worker, await f.claim(worker), Fall(HoldReason.OUTAGE, "no model takes calls"))
        await f.degrade()
        for _ in range(5):
            f.clock.now += 600
            assert await whys(f) == {}
        assert f.store.zscore("of:unfinished", JOB) == (f.clock.now + 600) * 1000
        f.clock.now += 600
        assert await whys(f) == {JOB: "overdue"}

    fleet(story)


def test_all_of_many_late_jobs_are_found(fleet):
    async def story(f):
        for number in range(250):
            await waiting(f, f"job-{number:05}", queue="gpu.smol.batch")
        f.clock.now += 5
        assert len({job.id for _ in range(3) for job in await swept(f)}) == 250

    fleet(story)


def test_a_long_queue_behind_a_breaker_is_examined_in_parts_a_hundred_jobs_a_second(fleet):
    async def story(f):
        for number in range(250):
            await waiting(f, f"job-{number:05}", queue=GONE, start_within=3600)
        parts = []
        for _ in range(3):
            parts.append(
                {job.id for job in (await sweep(f.link, (), (GONE,), clean=False))[1] if job.cause == "blocked"}
            )
            f.clock.now += 1
        assert sorted(map(len, parts)) == [50, 100, 100]
        assert len(set.union(*parts)) == 250
        several = (await sweep(f.link, (), (GONE, SMOL), clean=False))[1]
        assert len(several) == 50, "the queues share the hundred"

    fleet(story)


def test_stranded_jobs_are_found_before_they_are_late(fleet):
    async def story(f):
        await waiting(f, "job-stays")
        await waiting(f, "job-gone-1", queue=GONE, start_within=3600)
        await waiting(f, "job-gone-2", queue=GONE, start_within=3600)
        assert await whys(f, GONE) == {"job-gone-1": "stranded", "job-gone-2": "stranded"}

    fleet(story)


async def _no_worker(f):
    pass


async def _paused(f):
    f.store.sadd("of:paused", SMOL)


async def _open(f):
    await force_breaker(f.link, "box/smol", BreakerOverride(BreakerState.OPEN, "a test"), BreakerPolicy())


@pytest.mark.parametrize("so", [_no_worker, _paused, _open], ids=["no worker", "paused", "an open breaker"])
def test_a_job_that_cannot_be_claimed_is_found_in_time(fleet, so):
    async def story(f):
        await waiting(f, expires_after_seconds=60)
        await so(f)
        workers = [
            await f.start_worker("elsewhere", QueueSubscription("gpu.other.batch", (BackendCapacity("box", 4),)))
        ]
        workers += (
            [await f.start_worker("here", QueueSubscription(SMOL, (BackendCapacity("box", 4),)))]
            if so is not _no_worker
            else []
        )
        assert [(await worker.claim(1, 0)).deliveries for worker in workers] == [()] * len(workers)
        f.clock.now += 5
        (late,) = await swept(f)
        assert late.cause == "late"
        assert await move(f.link, late, Later("smol", 10), SMOL)
        f.clock.now += 55
        assert await whys(f) == {JOB: "overdue"}

    fleet(story)


@pytest.mark.parametrize(
    ("step", "to", "places"),
    [
        (NEXT, LARGE, [("queue", LARGE)]),
        (Later("large", 30, "a 429"), LARGE, [("scheduled", LARGE)]),
        (Fall(HoldReason.OUTAGE, "no model takes calls"), "", [("queue", "degrade")]),
    ],
    ids=["another queue", "later", "where nothing can serve it"],
)
def test_a_move_happens_once_and_its_event_says_why(fleet, step, to, places):
    async def story(f):
        await waiting(f)
        f.clock.now += 5
        (late,) = await swept(f)
        moved = await asyncio.gather(*(move(f.link, late, step, to) for _ in range(3)))
        assert sorted(moved) == [False, False, True], "three sweepers at once, or one whose reply was lost"
        assert f.rq_places(JOB) == places
        assert [row["event"] for row in f.events(JOB)] in (["queued", "queued"], ["queued", "scheduled"],
            ["queued", "fallen"])  # fmt: skip
        event = f.events(JOB)[-1]
        assert (event.get("why") or event["detail"]) == (step.why if to else step.detail)
        assert f.counter("moved") == 1

    fleet(story)


def test_a_moved_job_keeps_its_events_after_its_end(fleet):
    async def story(f):
        await waiting(f)
        f.clock.now += 5
        assert await move(f.link, (await swept(f))[0], NEXT, LARGE)
        worker = await f.worker(queues=(LARGE,))
        assert await f.settle(worker, await f.claim(worker)) == "settled"
        assert [row["event"] for row in f.events(JOB)] == ["queued", "queued", "started", "done"]
        assert f.store.ttl("of:events:" + JOB) > 0

    fleet(story)


def test_a_job_that_changed_since_the_sweep_is_not_moved(fleet):
    async def story(f):
        worker = await f.worker(queues=(SMOL,))

        async def claimed():
            await f.claim(worker)

        async def delivered():
            await f.settle(worker, await f.claim(worker), Later("smol", 1), to=SMOL)

        async def moved():
            await move(f.link, late, NEXT, LARGE)

        async def ended():
            await f.job_store.cancel(late.id)

        for number, happens in enumerate([claimed, delivered, moved, ended]):
            await waiting(f, f"job-{number:05}")
            f.clock.now += 5
            late = next(job for job in await swept(f) if job.id == f"job-{number:05}")
            await happens()
            before = f.dump()
            assert not await move(f.link, late, Handoff("third", True, "why"), "gpu.third.interactive")
            assert f.dump() == before, happens.__name__

    fleet(story)


def test_a_scheduled_job_is_not_postponed_by_every_sweep(fleet):
    async def story(f):
        await waiting(f)
        f.clock.now += 5
        (late,) = await swept(f)
        assert await move(f.link, late, Later("smol", 10), SMOL)
        f.clock.now += 2
        (late,) = await swept(f)
        assert not await move(f.link, late, Later("smol", 10), SMOL)
        f.clock.now += 8
        assert (await f.claim(await f.worker(queues=(SMOL,)))).id == JOB

    fleet(story)


@pytest.mark.parametrize("how", ["canceled", None])
def test_a_job_that_rqs_tools_ended_is_not_moved(fleet, how):
    async def story(f):
        await waiting(f)
        f.clock.now += 5
        (late,) = await swept(f)
        f.store.lrem("rq:queue:" + SMOL, 1, JOB)
        if how:
            f.store.hset("rq:job:" + JOB, "status", how)
        else:
            f.store.delete("rq:job:" + JOB)
        assert not await move(f.link, late, NEXT, LARGE)
        f.clock.now += 2
        assert await whys(f) == {JOB: "cancelled" if how else "deleted"}, "though it is late as well"

    fleet(story)


def test_a_job_moved_out_of_a_queue_leaves_the_others_in_their_order(fleet):
    async def story(f):
        for number in range(3):
            await waiting(f, f"job-{number:05}")
        f.clock.now += 5
        late_jobs = {late.id: late for late in await swept(f)}
        assert await move(f.link, late_jobs["job-00001"], NEXT, LARGE)
        worker = await f.worker(queues=(SMOL, LARGE))
        claim = await worker.claim(3, 0)
        assert [d.id for d in claim.deliveries] == ["job-00000", "job-00002", "job-00001"]
        for delivery in claim.deliveries:
            assert (await f.finish_call(worker, delivery, CallSignal.OK)).outcome == "settled"
        assert (await f.job_store.result("job-00001")).status is Status.FAILED

    fleet(story)
