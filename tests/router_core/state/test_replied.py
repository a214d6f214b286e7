"""Whether the caller of a job has had a reply of Open Fall before: then no `reply_within` applies to it any more."""

from __future__ import annotations

from openfall.router_core.deciding.steps import Fall, Handoff
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.state.held_jobs import ReleaseBudget, release_held
from openfall.router_core.state.reap_and_sweep import sweep
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import HoldReason, Urgency

SMOL = "gpu.smol.interactive"


def test_a_released_job_has_had_a_reply_and_a_new_or_handed_on_one_has_not(fleet):
    async def story(f):
        await f.accept("job-00001", queue=SMOL, start_within_seconds=5)
        worker = await f.start_worker("the-worker", QueueSubscription(SMOL, (BackendCapacity("box", 9),)))

        async def settle(delivery, step):
            outcome = DeliveryOutcome(next_step=step, to_queue=SMOL)
            assert (await worker.settle(worker.settlement(delivery, outcome))).outcome == "settled"

        first = await f.claim(worker)
        assert not first.replied
        await settle(first, Handoff("smol", at_front=True))
        second = await f.claim(worker)
        assert not second.replied
        await settle(second, Fall(HoldReason.OUTAGE, "away"))
        await f.degrade(Hold(reason=HoldReason.OUTAGE, detail="away", models=("smol",)))
        await release_held(f.link, [ReleaseBudget("smol", "gpu", 4, tuple(Urgency))], 1)
        f.clock.now += 10
        assert [job.replied for job in (await sweep(f.link, (), clean=False))[1]] == [True]
        assert (await f.claim(worker)).replied

    fleet(story)
