"""Accept, join, look, cancel, replay."""

from __future__ import annotations

import asyncio
import json

import pytest

from router_core.decide import Fall, Handoff, HoldReason, Later
from router_core.outcome import ErrorClass
from router_core.result import Status
from router_core.state.delivery import Deliveries, Identity
from router_core.state.errors import DeadlinePassed, IdempotencyConflict, UnknownJob
from router_core.state.rounds import reap, sweep

JOB = "job-00001"


def test_an_accepted_job_is_queued_with_its_place_and_deadline(fleet):
    async def story(f):
        first = await f.accept(JOB, give_up=120)
        second = await f.accept("job-00002")
        assert (first.id, first.position, first.joined, first.deadline) == (JOB, 1, False, f.clock.now + 120)
        assert second.position == 2
        assert await f.intake.position("job-00002") == 2
        assert await f.intake.result(JOB) is None
        record = await f.intake.record(JOB)
        assert (record.state, record.producer, record.accepted_at) == ("queued", "tests", f.clock.now)
        assert record.job == f.job(JOB).model_copy(update={"deadline": first.deadline, "accepted_at": f.clock.now})

    fleet(story)


def test_the_same_job_sent_again_changes_nothing(fleet):
    async def story(f):
        await f.accept(idempotency_key="k")
        before = f.dump()
        f.clock.now += 5
        again = await f.accept(idempotency_key="k")
        assert (again.id, again.joined) == (JOB, False)
        assert f.dump() == before

    fleet(story)


def test_the_same_job_sent_again_in_any_state_changes_nothing(fleet):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        delivery = await f.claim(worker)
        for _ in range(2):
            before = f.dump()
            await f.accept()
            assert f.dump() == before
            await f.settle(worker, delivery)

    fleet(story)


def test_one_id_with_two_requests_is_refused(fleet):
    async def story(f):
        await f.accept()
        with pytest.raises(IdempotencyConflict) as caught:
            await f.accept(job={"body": {"messages": []}})
        assert caught.value.job_id == JOB

    fleet(story)


def test_a_hundred_submits_with_one_key_are_one_job(fleet):
    async def story(f):
        accepted = await asyncio.gather(*(f.accept(f"job-{n:05}", idempotency_key="once") for n in range(100)))
        assert len({one.id for one in accepted}) == 1
        assert [one.joined for one in accepted].count(False) == 1
        assert f.store.llen("rq:queue:" + f.queue) == 1
        assert f.counter("accepted") == 1

    fleet(story)


def test_a_key_that_stands_for_another_request_is_refused(fleet):
    async def story(f):
        await f.accept(idempotency_key="k")
        with pytest.raises(IdempotencyConflict, match="already stands for job " + JOB):
            await f.accept("job-00002", idempotency_key="k", job={"body": {"messages": []}})
        assert f.places("job-00002") == []

    fleet(story)


def test_a_key_belongs_to_its_producer(fleet):
    async def story(f):
        await f.accept(idempotency_key="k")
        assert not (await f.accept("job-00002", idempotency_key="k", job={"producer": "other"})).joined

    fleet(story)


def test_no_producer_can_write_itself_into_the_keys_of_another(fleet):
    async def story(f):
        await f.accept(idempotency_key="b:k", job={"producer": "a"})
        assert not (await f.accept("job-00002", idempotency_key="k", job={"producer": "a:b"})).joined

    fleet(story)


def test_a_key_joins_a_finished_job_for_as_long_as_its_result_is_kept(fleet):
    async def story(f):
        await f.accept(idempotency_key="k", keep=77)
        (key,) = f.store.keys("of:idem:*")
        assert f.store.ttl(key) == -1, "it stands while the job has no result"
        worker = await f.worker()
        await f.settle(worker, await f.claim(worker))
        assert (await f.accept("job-00002", idempotency_key="k")).id == JOB
        assert {f.store.ttl(name) for name in (key, "of:result:" + JOB, "of:job:" + JOB, "rq:job:" + JOB)} <= {76, 77}
        f.store.delete("of:job:" + JOB, "of:result:" + JOB, "rq:job:" + JOB)  # its time has passed
        assert (await f.accept("job-00003", idempotency_key="k")).id == "job-00003"

    fleet(story)


@pytest.mark.parametrize("deadline", [1.0, 0.0, -5.0], ids=["long ago", "the epoch", "before the epoch"])
def test_a_deadline_in_the_past_is_refused(fleet, deadline):
    async def story(f):
        with pytest.raises(DeadlinePassed, match="the server's clock says"):
            await f.accept(deadline=deadline)
        assert not f.store.keys("*")

    fleet(story)


def test_a_result_is_kept_for_a_second_at_least(fleet):
    """A lifetime of 0 would make the settle fail halfway: the job would be done and have no result."""

    async def story(f):
        await f.accept(keep=0.2)
        worker = await f.worker()
        assert await f.settle(worker, await f.claim(worker)) == "settled"
        assert (await f.intake.result(JOB)).answered

    fleet(story)


def test_an_unknown_job_is_unknown_to_every_question(fleet):
    async def story(f):
        for question in ("result", "record", "position", "cancel", "replay", "watch"):
            with pytest.raises(UnknownJob, match="no job job-00001"):
                await getattr(f.intake, question)(JOB)

    fleet(story)


def test_jobs_accepted_in_bulk_are_each_accepted_or_refused(fleet):
    async def story(f):
        await f.accept(JOB)
        from router_core.state.intake import Terms

        terms = Terms(queue=f.queue, give_up=10, keep=10)
        other = f.job(JOB, body={"messages": []})
        good, bad = await f.intake.accept_many([(f.job("job-00002"), terms), (other, terms)])
        assert good.id == "job-00002"
        assert isinstance(bad, IdempotencyConflict)

    fleet(story)


async def _queued(f):
    return None


async def _started(f):
    worker = await f.worker()
    return worker, await f.claim(worker)


async def _scheduled(f):
    worker, delivery = await _started(f)
    await f.settle(worker, delivery, Later("smol", 30))


async def _held(f):
    worker, delivery = await _started(f)
    await f.settle(worker, delivery, Fall(HoldReason.OUTAGE, "every model is away"))


@pytest.mark.parametrize(
    ("reach", "registry"),
    [
        pytest.param(_queued, "gpu.smol.background", id="queued"),
        pytest.param(_started, "gpu.smol.background", id="started"),
        pytest.param(_scheduled, "gpu.smol.background", id="scheduled"),
        pytest.param(_held, "degrade", id="held"),
    ],
)
def test_a_cancelled_job_ends_from_any_state(fleet, reach, registry):
    async def story(f):
        await f.accept()
        await reach(f)
        assert await f.intake.cancel(JOB, "not wanted any more") is True
        assert await f.intake.cancel(JOB) is False
        result = await f.intake.result(JOB)
        assert (result.status, result.error) == (Status.CANCELLED, ErrorClass.CANCELLED)
        assert result.detail == "not wanted any more"
        assert f.places(JOB) == [("canceled", registry)]
        assert (f.field(JOB, "status"), f.field(JOB, "origin")) == ("canceled", registry)
        assert not f.store.exists("of:prompt:" + JOB)
        assert not f.store.zcard("of:leases:box")
        assert (await (await f.worker("other")).claim(1, 0)).deliveries == ()

    fleet(story)


def test_who_is_calling_for_a_cancelled_job_is_told_to_stop(fleet):
    async def story(f):
        await f.accept()
        await _started(f)
        with f.store.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.subscribe("rq:pubsub:worker-a")
            pubsub.get_message(timeout=5)
            await f.intake.cancel(JOB)
            told = None
            while told is None:
                told = pubsub.get_message(timeout=5)
        assert json.loads(told["data"]) == {"command": "stop-job", "job_id": JOB, "ended": True}

    fleet(story)


def test_a_cancelled_job_still_tells_what_was_tried(fleet):
    async def story(f):
        await f.accept()
        await _scheduled(f)
        await f.intake.cancel(JOB)
        assert [attempt.error for attempt in (await f.intake.record(JOB)).attempts] == [ErrorClass.TIMEOUT]

    fleet(story)


def test_a_scheduled_job_is_claimed_when_it_is_due_and_not_before(fleet):
    async def story(f):
        await f.accept()
        worker, delivery = await _started(f)
        await f.settle(worker, delivery, Later("smol", 30))
        assert (f.places(JOB), f.field(JOB, "status")) == ([("scheduled", f.queue)], "scheduled")
        due = f.clock.now + 30
        f.clock.now = due - 0.001
        early = await worker.claim(1, 0)
        assert (early.deliveries, early.due) == ((), due)
        f.clock.now = due
        assert (await f.claim(worker)).deliveries == 2
        assert f.places(JOB) == [("wip", f.queue)]

    fleet(story)


def test_jobs_that_are_due_keep_their_order_and_go_before_new_ones(fleet):
    async def story(f):
        worker = await f.worker()
        for n in range(3):
            await f.accept(f"job-0000{n}")
            await f.settle(worker, await f.claim(worker), Later("smol", 10 + n))
        await f.accept("job-00009")
        f.clock.now += 20
        claimed = (await worker.claim(4, 0)).deliveries
        assert [d.id for d in claimed] == ["job-00000", "job-00001", "job-00002", "job-00009"]

    fleet(story)


def test_a_paused_queue_is_not_drained_and_a_suspended_fleet_claims_nothing(fleet):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        f.store.sadd("of:paused", f.queue)
        paused = await worker.claim(1, 0)
        assert (paused.deliveries, paused.left) == ((), False)
        f.store.srem("of:paused", f.queue)
        f.store.set("rq:suspended", 1)
        suspended = await worker.claim(1, 0)
        assert (suspended.state, suspended.deliveries) == ("suspended", ())
        assert f.store.hget("rq:worker:worker-a", "state") == b"suspended"
        f.store.delete("rq:suspended")
        assert (await f.claim(worker)).id == JOB

    fleet(story)


def test_slots_are_counted_for_the_whole_fleet(fleet):
    async def story(f):
        for n in range(5):
            await f.accept(f"job-0000{n}")
        first, second = await f.worker("first", slots=3), await f.worker("second", slots=3)
        two = (await first.claim(2, 0)).deliveries
        more = await second.claim(4, 0)
        assert (len(two), len(more.deliveries), more.left) == (2, 1, True)
        await f.settle(first, two[0])
        assert len((await second.claim(4, 1)).deliveries) == 1

    fleet(story)


def test_a_held_job_can_be_replayed_and_its_story_stays(fleet):
    async def story(f):
        await f.accept()
        await _held(f)
        record = await f.intake.record(JOB)
        assert (record.held_for, record.held_why) == (HoldReason.OUTAGE, "every model is away")
        assert await f.intake.replay(JOB) == "queued"
        record = await f.intake.record(JOB)
        assert (record.state, record.held_for, len(record.attempts)) == ("queued", None, 1)
        delivery = await f.claim(await f.worker("heir"))
        assert delivery.attempts == b"", "what was tried counts no longer"
        assert await f.intake.replay(JOB) == "started"

    fleet(story)


def test_a_job_that_waits_past_its_deadline_is_found_and_ended_unless_it_moved_on(fleet):
    async def story(f):
        from router_core.result import Result
        from router_core.state.intake import end

        await f.accept(give_up=10)
        worker = await f.worker()
        assert (await sweep(f.link, clean=False))[1] == []
        f.clock.now += 11
        now, (late,) = await sweep(f.link, clean=True)
        assert (now, late.id, late.why, late.deliveries) == (f.clock.now, JOB, "overdue", 0)
        await f.claim(worker)
        result = Result(id=JOB, status=Status.EXPIRED, error=ErrorClass.TIMEOUT, detail="too late")
        assert await end(f.link, result, rq_status="failed", seen_deliveries=late.deliveries) is False
        assert f.places(JOB) == [("wip", f.queue)]
        assert (await sweep(f.link, clean=False))[1] == [], "a call in flight has its own timeout"

    fleet(story)


def test_the_audit_comes_round_to_every_open_job(fleet):
    async def story(f):
        for n in range(250):
            await f.accept(f"job-{n:05}")
        f.store.delete("rq:job:job-00003", "rq:job:job-00123", "rq:job:job-00249")
        await f.worker()
        found = [late.id for _ in range(3) for late in (await sweep(f.link, clean=False))[1]]
        assert found == ["job-00003", "job-00123", "job-00249"]

    fleet(story)


def test_events_tell_the_story_of_a_job_with_detours(fleet):
    async def story(f):
        await f.accept()
        worker, delivery = await _started(f)
        assert await worker.emit(delivery, [b'{"event":"delta","text":"x"}']) is True
        await f.settle(worker, delivery, Handoff("large", True), "gpu.large.background")
        other = await f.worker("other", queues=("gpu.large.background",))
        await f.settle(other, await f.claim(other))
        told = [event["event"] for event in f.events(JOB)]
        assert told == ["queued", "started", "delta", "queued", "reset", "started", "done"]

    fleet(story)


def test_watch_asks_the_next_delivery_to_stream(fleet):
    async def story(f):
        await f.accept()
        await f.intake.watch(JOB)
        assert (await f.claim(await f.worker())).watched is True

    fleet(story)


def test_a_finished_small_job_costs_less_than_two_kilobytes(fleet):
    async def story(f):
        jobs = 2000
        worker = await f.worker(slots=jobs)

        async def finish(numbers):
            await asyncio.gather(*(f.accept(f"job-{n:05}") for n in numbers))
            delivered = (await worker.claim(len(numbers), 0)).deliveries
            assert len(delivered) == len(numbers)
            await asyncio.gather(*(f.settle(worker, delivery) for delivery in delivered))

        await finish(range(90000, 90100))  # scripts, buffers and shared keys are there before the count begins
        before = f.store.info("memory")["used_memory_dataset"]
        await finish(range(jobs))
        assert (f.store.info("memory")["used_memory_dataset"] - before) / jobs < 2048
        keys = [key for key in f.store.keys("*job-00007*")]
        assert sum(f.store.memory_usage(key) for key in keys) < 2048, keys

    fleet(story)


def test_a_full_store_refuses_new_jobs_and_lets_those_in_flight_end(fleet):
    async def story(f):
        from router_core.state.errors import StoreFull

        await f.accept()
        worker = await f.worker()
        delivery = await f.claim(worker)
        f.store.config_set("maxmemory", 1)
        try:
            with pytest.raises(StoreFull, match="maxmemory"):
                await f.accept("job-00002")
            assert (await worker.beat([delivery]))[1] == []
            assert await f.settle(worker, delivery) == "settled"
            assert await reap(f.link) == []
        finally:
            f.store.config_set("maxmemory", 0)
        assert f.places("job-00002") == []
        assert f.places(JOB) == [("finished", f.queue)]

    fleet(story)


def test_a_worker_that_is_none_is_not_beaten_into_being(fleet):
    async def story(f):
        assert (await Deliveries(f.link, Identity("nobody", "gpu", (), ()), []).beat([]))[0] is False

    fleet(story)
