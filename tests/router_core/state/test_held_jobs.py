"""The held jobs: found, summed up, put back, dropped; and the log of falls."""

from __future__ import annotations

import json

import pytest

from openfall.router_core.deciding.steps import Fall
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.jobs.result import Status
from openfall.router_core.state.errors import UnknownJob
from openfall.router_core.state.held_jobs import (
    HeldFilter,
    count_held,
    drop_held,
    fetch_held,
    fetch_held_summary,
    list_held,
    replay_held,
)
from openfall.router_core.state.incidents import read_falls
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.vocabulary import HoldReason

JOB = "job-00001"


async def _held(f, *ids, reason=HoldReason.OUTAGE, **hold):
    worker = await f.worker()
    for job_id in ids:
        await f.accept(job_id, **hold.pop("terms", {}))
        ending = DeliveryOutcome(next_step=Fall(reason, "every model is away"))
        assert (await worker.settle(worker.settlement(await f.claim(worker), ending))).outcome == "settled"
        record = json.dumps({"id": job_id, "reason": reason, "counts": [], "notify": []}).encode()
        await f.degrade(
            Hold(reason=reason, detail="every model is away", **{"models": ("smol", "large"), **hold}), record
        )


async def _ids(f, **wanted):
    return [job.id async for job in list_held(f.link, HeldFilter(**wanted))]


def test_a_held_job_has_its_reason_its_time_and_its_release_models(fleet):
    async def story(f):
        await _held(f, JOB, ready_at=f.clock.now + 30)
        (job,) = await fetch_held(f.link, [JOB, "absent-0001"])
        assert (job.id, job.queue, job.urgency) == (JOB, f.queue, "background")
        assert (job.reason, job.why) == (HoldReason.OUTAGE, "every model is away")
        assert (job.release_models, job.ready_at) == (("smol", "large"), f.clock.now + 30)
        assert (job.held_at, job.deadline) == (f.clock.now, f.clock.now + 600)

    fleet(story)


def test_every_job_that_stays_held_is_listed_though_others_leave(fleet):
    async def story(f):
        ids = [f"job-{n:05}" for n in range(600)]
        await _held(f, *ids)
        listed = []
        async for job in list_held(f.link):
            listed.append(job.id)
            if len(listed) == 1:
                for other in ids[100:200]:
                    assert await replay_held(f.link, other) == "queued"
        assert len(listed) == len(set(listed))
        assert set(ids[:100] + ids[200:]) <= set(listed)

    fleet(story)


def test_held_jobs_are_filtered_by_reason_role_and_time(fleet):
    async def story(f):
        await _held(f, "job-00001")
        f.clock.now += 60
        await _held(f, "job-00002", reason=HoldReason.POISONED, terms={"job": {"role": "ace"}})
        assert await _ids(f) == ["job-00001", "job-00002"]
        assert await _ids(f, reason=HoldReason.POISONED) == ["job-00002"]
        assert await _ids(f, role="ace") == ["job-00002"]
        assert await _ids(f, since=f.clock.now - 30) == ["job-00002"]
        assert await _ids(f, role="ace", reason=HoldReason.OUTAGE) == []

    fleet(story)


def test_held_jobs_are_summarized_by_reason_and_release_model(fleet):
    async def story(f):
        await _held(f, "job-00001", "job-00002")
        await _held(f, "job-00003", models=("large",))
        await _held(f, "job-00004", reason=HoldReason.POISONED, models=())
        summary = await fetch_held_summary(f.link)
        assert (summary.total, summary.examined, await count_held(f.link)) == (4, 4, 4)
        assert summary.by_reason == {HoldReason.OUTAGE: 3, HoldReason.POISONED: 1}
        assert summary.models == ("large", "smol")
        assert ((await fetch_held_summary(f.link, 2)).total, (await fetch_held_summary(f.link, 2)).examined) == (4, 2)

    fleet(story)


def test_only_a_held_job_is_replayed_and_an_unknown_one_raises(fleet):
    async def story(f):
        await _held(f, JOB)
        assert await replay_held(f.link, JOB) == "queued"
        assert await replay_held(f.link, JOB) == "queued"
        assert f.rq_places(JOB) == [("queue", f.queue)]
        with pytest.raises(UnknownJob, match="no job absent-0001"):
            await replay_held(f.link, "absent-0001")

    fleet(story)


def test_a_dropped_job_is_cancelled_and_one_that_went_on_is_left_alone(fleet):
    async def story(f):
        await _held(f, "job-00001", "job-00002", "job-00003")
        dropped, other, third = [job async for job in list_held(f.link)]
        assert await drop_held(f.link, dropped)
        result = await f.job_store.result(dropped.id)
        assert (result.status, result.detail) == (Status.CANCELLED, "dropped by an operator")
        assert await drop_held(f.link, dropped) is False
        await replay_held(f.link, other.id)
        assert await drop_held(f.link, other) is False
        worker = await f.worker()
        await replay_held(f.link, third.id)
        await f.settle(worker, await f.claim(worker))
        assert await drop_held(f.link, third) is False
        assert (await f.job_store.result(third.id)).answered

    fleet(story)


def test_the_log_of_falls_is_read_in_order_from_a_given_time(fleet):
    async def story(f):
        await _held(f, *(f"job-{n:05}" for n in range(300)))
        fallen = [fall["id"] async for fall in read_falls(f.link)]
        assert fallen == [f"job-{n:05}" for n in range(300)]
        newest = int(f.store.xrevrange("of:falls", count=1)[0][0].partition(b"-")[0]) / 1000
        assert [fall async for fall in read_falls(f.link, newest + 1)] == []
        assert len([fall async for fall in read_falls(f.link, newest - 3600)]) == 300

    fleet(story)
