"""What becomes of an accepted job: cancelled, due later, paused, replayed, past its deadline, its events, its size."""

from __future__ import annotations

import asyncio
import json

import pytest

from openfall.router_core.deciding.steps import Fall, Handoff, Later
from openfall.router_core.jobs.result import Status
from openfall.router_core.state.held_jobs import replay_held
from openfall.router_core.state.reap_and_sweep import reap, sweep
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_subscription import WorkerIdentity
from openfall.router_core.vocabulary import ErrorClass, HoldReason

JOB = "job-00001"


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
    await f.degrade()


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
        assert await f.job_store.cancel(JOB, "not wanted any more") is True
        assert await f.job_store.cancel(JOB) is False
        result = await f.job_store.result(JOB)
        assert (result.status, result.error) == (Status.CANCELLED, ErrorClass.CANCELLED)
        assert result.detail == "not wanted any more"
        assert f.rq_places(JOB) == [("canceled", registry)]
        assert (f.rq_field(JOB, "status"), f.rq_field(JOB, "origin")) == ("canceled", registry)
        assert not f.store.exists("of:prompt:" + JOB)
        assert not f.store.zcard("of:leases:box")
        assert (await (await f.worker("other")).claim(1, 0)).deliveries == ()

    fleet(story)


def test_the_worker_of_a_cancelled_job_gets_a_stop_command(fleet):
    async def story(f):
        await f.accept()
        await _started(f)
        with f.store.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.subscribe("rq:pubsub:worker-a")
            pubsub.get_message(timeout=5)
            await f.job_store.cancel(JOB)
            message = None
            while message is None:
                message = pubsub.get_message(timeout=5)
        assert json.loads(message["data"]) == {"command": "stop-job", "job_id": JOB, "ended": True}

    fleet(story)


def test_a_cancelled_job_keeps_its_attempts(fleet):
    async def story(f):
        await f.accept()
        await _scheduled(f)
        await f.job_store.cancel(JOB)
        assert [attempt.error for attempt in (await f.job_store.record(JOB)).attempts] == [ErrorClass.TIMEOUT]

    fleet(story)


def test_a_scheduled_job_is_claimed_when_it_is_due_and_not_before(fleet):
    async def story(f):
        await f.accept()
        worker, delivery = await _started(f)
        await f.settle(worker, delivery, Later("smol", 30))
        assert (f.rq_places(JOB), f.rq_field(JOB, "status")) == ([("scheduled", f.queue)], "scheduled")
        due = f.clock.now + 30
        f.clock.now = due - 0.001
        early = await worker.claim(1, 0)
        assert (early.deliveries, early.next_due_at) == ((), due)
        f.clock.now = due
        assert (await f.claim(worker)).deliveries == 2
        assert f.rq_places(JOB) == [("wip", f.queue)]

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
        assert (paused.deliveries, paused.more_waiting) == ((), False)
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
        assert (len(two), len(more.deliveries), more.more_waiting) == (2, 1, True)
        await f.settle(first, two[0])
        assert len((await second.claim(4, 1)).deliveries) == 1

    fleet(story)


def test_a_held_job_can_be_replayed_and_keeps_its_events(fleet):
    async def story(f):
        await f.accept()
        await _held(f)
        record = await f.job_store.record(JOB)
        assert (record.held_for, record.hold_detail) == (HoldReason.OUTAGE, "every model is away")
        assert await replay_held(f.link, JOB) == "queued"
        record = await f.job_store.record(JOB)
        assert (record.state, record.held_for, len(record.attempts)) == ("queued", None, 1)
        delivery = await f.claim(await f.worker("heir"))
        assert delivery.attempts == b"", "what was tried counts no longer"
        assert await replay_held(f.link, JOB) == "started"

    fleet(story)


def test_a_job_that_waits_past_its_deadline_is_found_and_ended_unless_it_moved_on(fleet):
    async def story(f):
        from openfall.router_core.jobs.result import Result
        from openfall.router_core.state.jobs import end_job

        await f.accept(expires_after_seconds=10)
        worker = await f.worker()
        assert (await sweep(f.link, clean=False))[1] == []
        f.clock.now += 11
        now, (late,) = await sweep(f.link, clean=True)
        assert (now, late.id, late.cause, late.deliveries) == (f.clock.now, JOB, "overdue", 0)
        await f.claim(worker)
        result = Result(id=JOB, status=Status.EXPIRED, error=ErrorClass.TIMEOUT, detail="too late")
        assert await end_job(f.link, result, rq_status="failed", expected_deliveries=late.deliveries) is False
        assert f.rq_places(JOB) == [("wip", f.queue)]
        assert (await sweep(f.link, clean=False))[1] == [], "a call in flight has its own timeout"

    fleet(story)


def test_the_audit_reaches_every_unfinished_job(fleet):
    async def story(f):
        for n in range(250):
            await f.accept(f"job-{n:05}")
        f.store.delete("rq:job:job-00003", "rq:job:job-00123", "rq:job:job-00249")
        await f.worker()
        late_ids = [late.id for _ in range(3) for late in (await sweep(f.link, clean=False))[1]]
        assert late_ids == ["job-00003", "job-00123", "job-00249"]

    fleet(story)


def test_events_record_every_step_of_a_job(fleet):
    async def story(f):
        await f.accept()
        worker, delivery = await _started(f)
        assert await worker.append_pieces(delivery, [b'{"event":"delta","text":"x"}'], 1) == 1
        await f.settle(worker, delivery, Handoff("large", True), "gpu.large.background")
        other = await f.worker("other", queues=("gpu.large.background",))
        await f.settle(other, await f.claim(other))
        kinds = [event["event"] for event in f.events(JOB)]
        assert kinds == ["queued", "started", "delta", "queued", "reset", "started", "done"]

    fleet(story)


def test_a_reset_names_the_new_delivery_and_is_written_only_if_there_are_pieces_to_void(fleet):
    async def story(f):
        await f.accept()
        worker, delivery = await _started(f)
        assert await worker.append_pieces(delivery, [b'{"event":"delta","text":"x"}'], 1) == 1
        for model in ("large", "other"):
            queue = f"gpu.{model}.background"
            await f.settle(worker, delivery, Handoff(model, True), queue)
            worker = await f.worker(model, queues=(queue,))
            delivery = await f.claim(worker)
        resets = [(event["event"], event["delivery"]) for event in f.events(JOB) if event["event"] == "reset"]
        assert resets == [("reset", 2)]

    fleet(story)


def test_a_stream_request_reaches_the_next_delivery(fleet):
    async def story(f):
        await f.accept()
        await f.job_store.request_stream(JOB)
        assert (await f.claim(await f.worker())).streamed is True

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


@pytest.mark.parametrize("libraries", ["loaded", "forgotten"])
def test_a_full_store_refuses_new_jobs_and_lets_those_in_flight_end(fleet, libraries):
    async def story(f):
        from openfall.router_core.state.errors import StoreFull

        await f.accept()
        worker = await f.worker()
        delivery = await f.claim(worker)
        await f.link.load("accept", "beat", "settle", "reap")
        if libraries == "forgotten":
            f.store.function_flush()
        f.store.config_set("maxmemory", 1)
        try:
            with pytest.raises(StoreFull, match="maxmemory"):
                await f.accept("job-00002")
            assert (await worker.beat([delivery])).lost == []
            assert await f.settle(worker, delivery) == "settled"
            assert await reap(f.link) == []
            assert len(f.store.function_list()) == 0 or libraries == "loaded", "a full server takes no library"
        finally:
            f.store.config_set("maxmemory", 0)
        assert f.rq_places("job-00002") == []
        assert f.rq_places(JOB) == [("finished", f.queue)]

    fleet(story)


def test_a_beat_registers_no_unknown_worker(fleet):
    async def story(f):
        assert (await WorkerQueue(f.link, WorkerIdentity("absent", "gpu", (), ()), []).beat([])).registered is False

    fleet(story)
