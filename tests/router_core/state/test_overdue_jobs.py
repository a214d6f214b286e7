"""A job past its deadline is found by the next sweep, wherever it was when the deadline passed."""

from __future__ import annotations

import pytest

from openfall.router_core.deciding.steps import Fall, Handoff, Later
from openfall.router_core.state.held_jobs import replay_held
from openfall.router_core.state.reap_and_sweep import sweep
from openfall.router_core.vocabulary import HoldReason

JOB, SMOL, LARGE = "job-00001", "gpu.smol.batch", "gpu.large.batch"
NEXT = Handoff("large", True, "its breaker is open")


async def whys(f, *stranded: str) -> dict[str, str]:
    return {job.id: job.cause for job in (await sweep(f.link, stranded, clean=False))[1]}


async def waiting(f, *, expires_after_seconds: float) -> None:
    await f.accept(JOB, queue=SMOL, start_within_seconds=5, expires_after_seconds=expires_after_seconds)


def test_an_overdue_job_is_found_until_it_is_ended(fleet):
    async def story(f):
        await waiting(f, expires_after_seconds=10)
        f.clock.now += 10
        assert await whys(f) == {JOB: "overdue"}
        assert await whys(f, SMOL) == {JOB: "overdue"}, "once, though it is stranded as well"

    fleet(story)


@pytest.mark.parametrize(
    "step",
    [NEXT, Later("smol", 30), Fall(HoldReason.OUTAGE, "no model takes calls"), None],
    ids=["next", "later", "fall", "back"],
)
def test_a_job_that_passed_its_deadline_while_it_ran_is_found_by_the_next_sweep_after_its_call(fleet, step):
    async def story(f):
        await waiting(f, expires_after_seconds=10)
        worker = await f.worker(queues=(SMOL,))
        delivery = await f.claim(worker)
        f.clock.now += 11
        assert await whys(f) == {}, "it runs, so it is examined again ten seconds later"
        await f.settle(worker, delivery, step, to=LARGE)
        assert await whys(f) == {JOB: "overdue"}

    fleet(story)


def test_a_replayed_job_is_found_at_its_deadline_and_not_after_its_grace(fleet):
    async def story(f):
        await waiting(f, expires_after_seconds=3600)
        worker = await f.worker(queues=(SMOL,))
        await f.settle(worker, await f.claim(worker), Fall(HoldReason.OUTAGE, "no model takes calls"))
        await f.degrade()
        f.clock.now += 3599
        assert await replay_held(f.link, JOB) == "queued"
        f.clock.now += 1
        assert await whys(f) == {JOB: "overdue"}

    fleet(story)
