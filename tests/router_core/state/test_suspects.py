"""A job that may be what kills its workers: it runs alone, and the third crash alone holds it."""

from __future__ import annotations

import socket

import pytest

from openfall.router_core.deciding.steps import Fall, Handoff, Later
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.state.beats_and_leases import LEASE_SECONDS
from openfall.router_core.state.held_jobs import ReleaseBudget, fetch_held, release_held, replay_held
from openfall.router_core.state.job_events import read_events
from openfall.router_core.state.reap_and_sweep import move, reap, sweep
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import HoldReason, Urgency

JOB = "job-00001"


async def _crash(f, name, drained_for=""):
    """A worker takes the job and dies."""
    worker = await f.worker(name)
    claim = await worker.claim(1, 0, drained_for)
    assert [delivery.id for delivery in claim.deliveries] == [JOB]
    await f.pass_time(LEASE_SECONDS + 1)
    return (await reap(f.link))[0][2]


def test_the_third_crash_alone_holds_a_job_as_poisoned(fleet):
    async def story(f):
        await f.accept()
        assert await _crash(f, "first") == "queued"
        assert await _crash(f, "second") == "suspect"
        assert f.rq_places(JOB) == [("scheduled", f.queue)]
        assert f.rq_field(JOB, "status") == "scheduled"
        assert await _crash(f, "third") == "suspect"
        assert await _crash(f, "fourth") == "suspect"
        assert await _crash(f, "fifth") == "fallen"
        await f.degrade()
        record = await f.job_store.record(JOB)
        assert (record.state, record.held_for, record.crashes) == ("held", HoldReason.POISONED, 5)
        assert f.rq_places(JOB) == [("deferred", "degrade")]
        assert (f.rq_field(JOB, "status"), f.rq_field(JOB, "origin")) == ("deferred", "degrade")
        assert record.job is not None

    fleet(story)


@pytest.mark.parametrize(
    "log", ["", "/var/log/worker-gpu-1.log", "journalctl --unit w.service _PID=7", "docker logs b0x"]
)
def test_a_poisoned_job_names_the_log_of_the_last_worker_that_died(fleet, log):
    async def story(f):
        await f.accept()
        for name in ("first", "second", "third", "fourth", "fifth"):
            f.log = log if name == "fifth" else f"/of/{name}"
            await _crash(f, name)
        await f.degrade()
        (job,) = await fetch_held(f.link, [JOB])
        assert (job.reason, job.crash_log, job.crash_host) == (HoldReason.POISONED, log, socket.gethostname())
        assert job.crashes == (await f.job_store.record(JOB)).crashes == 5
        assert job.why.startswith(
            "5 workers died while they ran it, also while they ran no other job; the last was fifth"
        )
        queued = [event for event in await read_events(f.link, JOB) if "why" in event]
        assert [(event["worker"], event["log"], event["crashes"]) for event in queued[:2]] == [
            ("first", "/of/first", 1),
            ("second", "/of/second", 2),
        ]

    fleet(story)


def test_a_lease_that_ended_while_its_worker_lives_names_no_log(fleet):
    async def story(f):
        await f.accept()
        f.log = "/of/first"
        worker = await f.worker("first")
        await worker.claim(1, 0)
        await f.pass_time(LEASE_SECONDS + 1)
        await worker.beat([])
        await reap(f.link)
        moved = [event for event in await read_events(f.link, JOB) if "why" in event]
        assert [("log" in event, event["why"]) for event in moved] == [(False, "its lease ended")]

    fleet(story)


def test_a_suspect_runs_alone(fleet):
    async def story(f):
        await f.accept()
        await _crash(f, "first")
        await _crash(f, "second")
        for n in range(2, 5):
            await f.accept(f"job-0000{n}")
        worker = await f.worker()
        busy = await worker.claim(2, in_flight=1)
        assert (busy.deliveries, busy.suspect) == ((), JOB), "it lets its other call end first"
        other = await (await f.worker("other")).claim(1, 0)
        assert [d.id for d in other.deliveries] == ["job-00002"], "who does not drain for it goes on"
        alone = await worker.claim(4, 0, busy.suspect)
        assert [d.id for d in alone.deliveries] == [JOB]
        assert f.rq_places(JOB) == [("wip", f.queue)]
        assert await f.settle(worker, alone.deliveries[0]) == "settled"

    fleet(story)


def test_a_worker_does_not_drain_for_a_suspect_it_cannot_serve(fleet):
    async def story(f):
        await f.accept()
        await _crash(f, "first")
        await _crash(f, "second")
        elsewhere = "gpu.large.background"
        await f.accept("job-00002", queue=elsewhere)
        worker = await f.worker("pinned", queues=(elsewhere,))
        claim = await worker.claim(1, in_flight=1)
        assert (claim.suspect, [d.id for d in claim.deliveries]) == ("", ["job-00002"])

    fleet(story)


def test_a_suspect_that_this_worker_cannot_serve_does_not_hide_the_next(fleet):
    async def story(f):
        await f.accept()
        await _crash(f, "first")
        await _crash(f, "second")
        elsewhere = "gpu.large.background"
        await f.accept("job-00002", queue=elsewhere)
        for name in ("third", "fourth"):
            await (await f.worker(name, queues=(elsewhere,))).claim(1, 0)
            await f.pass_time(LEASE_SECONDS + 1)
            await reap(f.link)
        assert f.rq_places("job-00002") == [("scheduled", elsewhere)]
        worker = await f.worker("pinned", queues=(elsewhere,))
        claim = await worker.claim(1, 0)
        assert [d.id for d in claim.deliveries] == ["job-00002"]

    fleet(story)


def test_a_suspect_of_a_paused_queue_waits(fleet):
    async def story(f):
        await f.accept()
        await _crash(f, "first")
        await _crash(f, "second")
        f.store.sadd("of:paused", f.queue)
        worker = await f.worker()
        assert (await worker.claim(1, 0)).deliveries == ()
        assert (await worker.claim(1, in_flight=1)).suspect == ""
        f.store.srem("of:paused", f.queue)
        assert (await f.claim(worker)).id == JOB

    fleet(story)


def test_a_worker_that_dies_while_it_waits_leaves_the_suspect_to_another(fleet):
    async def story(f):
        await f.accept()
        await _crash(f, "first")
        await _crash(f, "second")
        assert (await (await f.worker("drainer")).claim(1, in_flight=3)).suspect == JOB
        await f.pass_time(61)
        assert (await f.claim(await f.worker("heir"))).id == JOB

    fleet(story)


def test_the_claim_of_a_suspect_says_so(fleet):
    async def story(f):
        await f.accept()
        await _crash(f, "first")
        await _crash(f, "second")
        claim = await (await f.worker()).claim(4, 0)
        assert (claim.suspect, len(claim.deliveries)) == (JOB, 1), "the worker claims nothing beside it"

    fleet(story)


@pytest.mark.parametrize("held", [False, True], ids=["it has fallen", "it is held"])
def test_a_late_answer_ends_a_job_that_was_held_as_poisoned_meanwhile(fleet, held):
    async def story(f):
        await f.accept()
        await _crash(f, "first")
        await _crash(f, "second")
        await _crash(f, "third")
        await _crash(f, "fourth")
        worker = await f.worker("slow")
        delivery = await f.claim(worker)
        await f.pass_time(LEASE_SECONDS + 1)
        await reap(f.link)
        assert f.rq_places(JOB) == [("queue", "degrade")]
        if held:
            await f.degrade()
            assert f.rq_places(JOB) == [("deferred", "degrade")]
        assert await f.settle(worker, delivery) == "settled"
        assert f.rq_places(JOB) == [("finished", f.queue)]
        assert f.rq_field(JOB, "origin") == f.queue, "rq looks for a job in the registries of its origin"

    fleet(story)


def test_a_late_answer_is_accepted_while_the_degrade_worker_has_its_job(fleet):
    async def story(f):
        await f.accept()
        await _crash(f, "first")
        await _crash(f, "second")
        await _crash(f, "third")
        await _crash(f, "fourth")
        slow = await f.worker("slow")
        delivery = await f.claim(slow)
        await f.pass_time(LEASE_SECONDS + 1)
        await reap(f.link)
        degrade = await f.start_worker("degrader", QueueSubscription("degrade", (BackendCapacity("degrade", 8),)))
        fallen = await f.claim(degrade)
        assert await f.settle(slow, delivery) == "settled"
        assert f.rq_places(JOB) == [("finished", f.queue)]
        hold = Hold(reason=HoldReason.POISONED, detail="it kills workers")
        assert (await degrade.settle(degrade.settlement(fallen, DeliveryOutcome(next_step=hold)))).outcome == "late"
        assert f.store.zcard("of:leases:degrade") == 0

    fleet(story)


async def _suspect(f):
    await f.accept(start_within_seconds=5)
    await _crash(f, "first")
    assert await _crash(f, "second") == "suspect"


async def _find(f):
    (job,) = (await sweep(f.link, clean=False))[1]
    assert (job.id, job.cause) == (JOB, "late")
    return job


async def _runs_alone(f, queue):
    """A worker with a call in flight lets it end first, then gets the job."""
    worker = await f.worker("alone", queues=(queue,))
    busy = await worker.claim(2, 1)
    assert (busy.deliveries, busy.suspect) == ((), JOB)
    assert [d.id for d in (await worker.claim(4, 0, busy.suspect)).deliveries] == [JOB]


def test_a_suspect_that_no_worker_may_run_falls_when_it_is_late_and_runs_alone_after_its_release(fleet):
    async def story(f):
        await _suspect(f)
        assert await move(f.link, await _find(f), Fall(HoldReason.OUTAGE, "no live worker serves its queue"))
        await f.degrade()
        assert (await f.job_store.record(JOB)).state == "held"
        assert await release_held(f.link, [ReleaseBudget("smol", "gpu", 10, tuple(Urgency))], 2) == [(JOB, f.queue)]
        await _runs_alone(f, f.queue)
        assert f.record_field(JOB, "suspect") is None

    fleet(story)


def test_a_suspect_that_goes_to_another_model_runs_alone_there(fleet):
    async def story(f):
        await _suspect(f)
        large = "cloud.large.background"
        assert await move(f.link, await _find(f), Handoff("large", False), large)
        assert f.store.zrange("of:suspects:gpu", 0, -1) == []
        assert f.store.zrange("of:suspects:cloud", 0, -1) == [JOB.encode()]
        assert f.rq_places(JOB) == [("scheduled", large)]

    fleet(story)


def test_a_suspect_is_not_put_off(fleet):
    async def story(f):
        await _suspect(f)
        assert not await move(f.link, await _find(f), Later("smol", 60), f.queue)
        await _runs_alone(f, f.queue)

    fleet(story)


def test_a_replay_by_hand_forgives_a_held_suspect_its_crashes(fleet):
    async def story(f):
        await _suspect(f)
        await move(f.link, await _find(f), Fall(HoldReason.OUTAGE, "no live worker serves its queue"))
        await f.degrade()
        assert await replay_held(f.link, JOB) == "queued"
        assert f.rq_places(JOB) == [("queue", f.queue)]
        record = await f.job_store.record(JOB)
        assert (record.crashes, f.record_field(JOB, "suspect")) == (0, None)

    fleet(story)
