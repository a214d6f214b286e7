"""Who holds a job, what a lost lease means, and what a late answer is worth."""

from __future__ import annotations

import pytest

from openfall.router_core.deciding.steps import Fall, Handoff, Later
from openfall.router_core.jobs.result import Status
from openfall.router_core.state.beats_and_leases import LEASE_SECONDS
from openfall.router_core.state.ledger import read_ledger
from openfall.router_core.state.reap_and_sweep import reap
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register, unregister
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, WorkerIdentity
from openfall.router_core.vocabulary import HoldReason
from tests.router_core.state.test_ledger import day

JOB = "job-00001"


def test_a_claim_whose_reply_was_lost_comes_back_without_a_crash(fleet):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        await f.claim(worker)  # the reply is lost: the worker lives, and does not know of the delivery
        await f.pass_time(LEASE_SECONDS + 1, (worker, ()))
        assert await reap(f.link) == [(JOB, f.queue, "queued")]
        record = await f.job_store.record(JOB)
        assert (record.state, record.crashes) == ("queued", 0)
        assert (await f.claim(worker)).deliveries == 2

    fleet(story)


def test_a_lease_that_is_renewed_is_not_reaped(fleet):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        delivery = await f.claim(worker)
        await f.pass_time(60, (worker, (delivery,)))
        assert await reap(f.link) == []
        assert await f.settle(worker, delivery) == "settled"

    fleet(story)


def test_the_job_of_a_dead_worker_goes_to_the_front_of_its_queue(fleet):
    async def story(f):
        await f.accept()
        await f.claim(await f.worker("dead-one"))
        await f.accept("job-00002")
        await f.pass_time(LEASE_SECONDS + 1)
        heir = await f.worker("heir")
        assert await reap(f.link) == [(JOB, f.queue, "queued")]
        assert [d.id for d in (await heir.claim(2, 0)).deliveries] == [JOB, "job-00002"]
        assert (await f.job_store.record(JOB)).crashes == 1

    fleet(story)


def test_jobs_of_a_dead_worker_keep_their_order(fleet):
    async def story(f):
        for n in range(3):
            await f.accept(f"job-0000{n}")
        await (await f.worker("dead-one")).claim(3, 0)
        await f.pass_time(LEASE_SECONDS + 1)
        heir = await f.worker("heir")
        await reap(f.link)
        assert [d.id for d in (await heir.claim(3, 0)).deliveries] == ["job-00000", "job-00001", "job-00002"]

    fleet(story)


def test_a_silence_of_the_whole_fleet_extends_leases_and_counts_no_crash(fleet):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        delivery = await f.claim(worker)
        f.clock.now += 120  # Redis was away: no worker could beat
        await f.worker("other")  # the first beat after it
        assert await reap(f.link) == []
        await f.pass_time(4)
        assert await reap(f.link) == []
        await worker.beat([delivery])
        await f.pass_time(12, (worker, (delivery,)))
        assert await reap(f.link) == []
        assert f.counter("crashes") == 0
        assert f.counter("silences") == 1
        assert await f.settle(worker, delivery) == "settled"

    fleet(story)


def test_after_a_silence_a_worker_that_stays_silent_is_reaped_and_its_crash_counted(fleet):
    async def story(f):
        await f.accept()
        await f.claim(await f.worker("dead-one"))
        f.clock.now += 120
        await f.worker("heir")
        assert await reap(f.link) == []
        await f.pass_time(16)
        assert await reap(f.link) == [(JOB, f.queue, "queued")]
        assert (await f.job_store.record(JOB)).crashes == 1

    fleet(story)


def test_a_reaping_worker_is_the_first_to_notice_a_silence(fleet):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        await f.claim(worker)
        f.clock.now += 120
        assert await reap(f.link) == []
        assert await reap(f.link) == []

    fleet(story)


def test_a_late_answer_is_accepted_until_the_job_is_claimed_again(fleet):
    async def story(f):
        await f.accept()
        worker = await f.worker("slow")
        delivery = await f.claim(worker)
        await f.pass_time(LEASE_SECONDS + 1)
        await reap(f.link)
        assert await f.settle(worker, delivery) == "settled"
        assert f.rq_places(JOB) == [("finished", f.queue)]
        assert f.counter("late_accepted") == 1

    fleet(story)


def test_a_late_failure_changes_nothing_once_the_job_was_reaped(fleet):
    async def story(f):
        await f.accept()
        worker = await f.worker("slow")
        delivery = await f.claim(worker)
        await f.pass_time(LEASE_SECONDS + 1)
        await reap(f.link)
        assert await f.settle(worker, delivery, Handoff("large", False), "gpu.large.background") == "late"
        assert f.rq_places(JOB) == [("queue", f.queue)]

    fleet(story)


def test_a_late_answer_is_refused_and_counted_once_the_job_was_claimed_again(fleet):
    async def story(f):
        await f.accept()
        slow, heir = await f.worker("slow"), await f.worker("heir")
        late = await f.claim(slow)
        await f.pass_time(LEASE_SECONDS + 1)
        await reap(f.link)
        current = await f.claim(heir)
        assert await f.settle(slow, late) == "late"
        assert await slow.append_events(late, b"{}") is False
        assert (await slow.beat([late])).lost == [JOB]
        assert f.counter("late") == 1
        assert f.rq_places(JOB) == [("wip", f.queue)]
        assert await f.settle(heir, current) == "settled"
        assert await f.settle(slow, late) == "late"
        assert f.ended("answered") == 1

    fleet(story)


def test_a_token_is_never_used_twice_even_by_a_worker_of_the_same_name(fleet):
    """A worker restarted under its old name must not pass its dead self's fence, nor two hosts one another's."""

    async def story(f):
        await f.accept()
        first = await f.claim(await f.worker("host-1-gpu.1"))
        await f.pass_time(LEASE_SECONDS + 1)
        await f.worker("host-2-gpu.1")
        await reap(f.link)
        successor = WorkerQueue(
            f.link,
            WorkerIdentity("host-2-gpu.1", "gpu", (), ()),
            [QueueSubscription(f.queue, (BackendCapacity("box", 4),))],
        )
        second = await f.claim(successor)
        assert first.token != second.token

    fleet(story)


@pytest.mark.parametrize(
    "next_",
    [
        pytest.param("answer", id="an answer"),
        pytest.param(Handoff("large", False), id="a hand-off"),
        pytest.param(Later("smol", 30), id="a later delivery"),
        pytest.param(Fall(HoldReason.OUTAGE, "all down"), id="a fall"),
        pytest.param(None, id="a job put back"),
    ],
)
def test_a_settle_that_arrives_twice_counts_once(fleet, next_):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        delivery = await f.claim(worker)
        assert await f.settle(worker, delivery, next_) == "settled"
        before = f.dump()
        assert await f.settle(worker, delivery, next_) == "again"
        assert f.dump() == before

    fleet(story)


@pytest.mark.parametrize(("next_", "calls"), [("answer", 1), (Handoff("large", True), 1), (None, 0)])
def test_a_settle_of_an_unknown_job_is_counted_and_its_call_was_paid(fleet, next_, calls):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        delivery = await f.claim(worker)
        f.store.delete("of:job:" + JOB)
        assert await f.settle(worker, delivery, next_) == "gone"
        assert f.counter("settled_unknown") == 1
        assert sum(row.calls for row in await read_ledger(f.link, [day(f)])) == calls
        assert not f.store.exists("of:job:" + JOB)

    fleet(story)


def test_a_settle_after_a_cancel_is_late_and_the_result_stays(fleet):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        delivery = await f.claim(worker)
        await f.job_store.cancel(JOB)
        assert await f.settle(worker, delivery) == "late"
        assert (await f.job_store.result(JOB)).status is Status.CANCELLED

    fleet(story)


def test_a_settle_of_a_worker_that_rq_forgot_leaves_no_key_behind(fleet):
    """A spooled settle arrives after its worker is gone: rq's hash of that worker must not come back to life."""

    async def story(f):
        await f.accept()
        worker = await f.worker("gone")
        delivery = await f.claim(worker)
        f.store.delete("rq:worker:gone")
        assert await f.settle(worker, delivery) == "settled"
        assert not f.store.exists("rq:worker:gone")

    fleet(story)


def test_a_claim_of_a_worker_that_rq_forgot_leaves_the_registering_to_the_beat(fleet):
    async def story(f):
        await f.accept()
        worker = await f.worker("gone")
        f.store.delete("rq:worker:gone")
        await f.claim(worker)
        assert (await worker.beat([])).registered is False, "so that the worker registers again"

    fleet(story)


def test_a_job_put_back_was_never_delivered(fleet):
    async def story(f):
        await f.accept()
        await f.accept("job-00002")
        worker = await f.worker()
        delivery = await f.claim(worker)
        assert await f.settle(worker, delivery, None) == "settled"
        record = await f.job_store.record(JOB)
        assert (record.state, record.deliveries, record.attempts) == ("queued", 0, ())
        assert f.store.lrange("rq:queue:" + f.queue, 0, 0) == [JOB.encode()]

    fleet(story)


def test_an_unregistered_worker_is_in_no_list(fleet):
    async def story(f):
        identity = WorkerIdentity("leaver", "gpu", (f.queue,), ("box",))
        await register(f.link, identity)
        await WorkerQueue(f.link, WorkerIdentity("leaver", "gpu", (), ()), []).beat([])
        await unregister(f.link, identity)
        assert not f.store.smembers("rq:workers")
        assert not f.store.smembers("rq:workers:" + f.queue)
        assert f.store.zscore("of:presence", "leaver") is None
        assert f.store.ttl("rq:worker:leaver") > 0

    fleet(story)
