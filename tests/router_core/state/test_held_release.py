"""Held jobs come back to a healed model by themselves: a few at first, in order, and never to one that is away."""

from __future__ import annotations

import asyncio
import json

import pytest
from pydantic_core import to_json

from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.deciding.steps import Fall, Handoff
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.degrading.incident_end import QUIET_SECONDS
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.held_jobs import ReleaseBudget, release_held
from openfall.router_core.state.incidents import close_incident, fetch_incident, open_incidents
from openfall.router_core.state.jobs import end_job
from openfall.router_core.state.reap_and_sweep import move, sweep
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import CallSignal, HoldReason, Urgency
from tests.router_core.state.conftest import call_report

SMOL, LARGE = "gpu.smol.background", "gpu.large.background"
ALL = tuple(Urgency)


async def held(f, job_id: str, queue: str = SMOL, models=("smol",), ready_in: float = 0.0,
               late_models=(), late_at: float = 0.0, **terms) -> None:  # fmt: skip
    await f.accept(job_id, queue=queue, **terms)
    worker = await f.start_worker("faller", QueueSubscription(queue, (BackendCapacity("box", 9),)))
    await uncalled(worker, await f.claim(worker), Fall(HoldReason.OUTAGE, "away"))
    ready_at = f.clock.now + ready_in if ready_in else 0.0
    kept = {"late_models": late_models, "late_at": late_at}
    await f.degrade(Hold(reason=HoldReason.OUTAGE, detail="away", models=models, ready_at=ready_at, **kept))


async def uncalled(worker, delivery, next_, to: str = "") -> None:
    """Settled without a call, so that no breaker hears of it."""
    assert (
        await worker.settle(worker.settlement(delivery, DeliveryOutcome(next_step=next_, to_queue=to)))
    ).outcome == "settled"


async def let_go(f, model: str = "smol", most: int = 4, first: int = 1, urgencies=ALL) -> list[str]:
    return sorted(
        job_id for job_id, _ in await release_held(f.link, [ReleaseBudget(model, "gpu", most, urgencies)], first)
    )


async def ends(f, mark: str = "answer", *, queue: str = SMOL) -> str:
    """The first job of a queue is called for; its id."""
    worker = await f.start_worker("carrier", QueueSubscription(queue, (BackendCapacity("box", 9),)))
    delivery = await f.claim(worker)
    steps = {
        "answer": f.answered(delivery),
        "fail": f.failed(delivery),
        "fall": Fall(HoldReason.OUTAGE, "away"),
        "hand on": Handoff("large", at_front=False),
    }
    await uncalled(worker, delivery, steps[mark], LARGE)
    return delivery.id


def test_the_most_urgent_are_released_first_and_among_those_the_oldest(fleet):
    async def story(f):
        for number, urgency in enumerate(("batch", "background", "interactive", "interactive"), 1):
            await held(f, f"job-0000{number}", f"gpu.smol.{urgency}")
            f.clock.now += 1
        for expected in ("job-00003", "job-00004", "job-00002", "job-00001"):
            assert await let_go(f) == [expected]
            assert await ends(f, queue=f.record_field(expected, "queue")) == expected
            f.store.delete("of:release-window")  # the same room each time: this is about the order

    fleet(story)


def test_one_job_is_released_first_and_one_more_for_each_answer(fleet):
    async def story(f):
        for number in range(1, 10):
            await held(f, f"job-0000{number}")
            f.clock.now += 1
        assert await let_go(f) == ["job-00001"]
        assert await let_go(f) == [], "the first one is still on its way"
        await ends(f)
        assert await let_go(f) == ["job-00002", "job-00003"]
        assert [await ends(f), await ends(f)] == ["job-00002", "job-00003"], "in their order"
        assert await let_go(f, most=3) == ["job-00004", "job-00005", "job-00006"], "never more than `most`"
        assert await let_go(f, most=3) == []

    fleet(story)


def test_the_configuration_sets_how_many_are_released_first(fleet):
    async def story(f):
        for number in range(1, 6):
            await held(f, f"job-0000{number}")
        assert len(await let_go(f, first=3)) == 3

    fleet(story)


def test_a_released_job_that_keeps_its_answer_and_goes_on_counts_as_answered(fleet):
    async def story(f):
        for number in range(1, 4):
            await held(f, f"job-0000{number}")
            f.clock.now += 1
        assert await let_go(f) == ["job-00001"]
        worker = await f.start_worker("carrier", QueueSubscription(SMOL, (BackendCapacity("box", 9),)))
        outcome = DeliveryOutcome(next_step=Handoff("large", at_front=False), to_queue=LARGE, answer=b"{}")
        await worker.settle(worker.settlement(await f.claim(worker), outcome))
        assert await let_go(f) == ["job-00002", "job-00003"], "the next job of an ensemble may follow"

    fleet(story)


def test_a_job_that_goes_on_after_one_answer_of_several_says_so(fleet):
    async def story(f):
        await f.accept("job-00001", queue=SMOL)
        worker = await f.start_worker("carrier", QueueSubscription(SMOL, (BackendCapacity("box", 9),)))
        delivery = await f.claim(worker)
        outcome = DeliveryOutcome(
            next_step=Handoff("large", at_front=False), to_queue=LARGE, answer=b"{}",
            call=call_report(f.attempt(delivery), delivery),
        )  # fmt: skip
        await worker.settle(worker.settlement(delivery, outcome))
        events = [json.loads(event) for event in f.store.lrange("of:events:job-00001", 0, -1)]
        assert events[-1]["why"] == "smol@box: answered, one of several"

    fleet(story)


@pytest.mark.parametrize("mark", ["fail", "fall", "hand on"])
def test_a_released_job_without_an_answer_resets_the_release(fleet, mark):
    async def story(f):
        for number in range(1, 9):
            await held(f, f"job-0000{number}")
            f.clock.now += 1
        await let_go(f)
        await ends(f)
        assert len(await let_go(f)) == 2
        await ends(f)
        await ends(f, mark)
        assert len(await let_go(f)) == 1

    fleet(story)


@pytest.mark.parametrize("how", ["cancelled", "expired", "moved"])
def test_a_released_job_that_ends_or_moves_before_its_call_makes_room(fleet, how):
    async def story(f):
        await held(f, "job-00001", start_within_seconds=5)
        f.clock.now += 1
        await held(f, "job-00002")
        assert await let_go(f) == ["job-00001"]
        if how == "cancelled":
            await f.job_store.cancel("job-00001")
        elif how == "expired":
            await end_job(
                f.link, Result(id="job-00001", status=Status.EXPIRED), rq_status="failed", expected_deliveries=2
            )
        else:
            f.clock.now += 6
            (late,) = [job for job in (await sweep(f.link, clean=False))[1] if job.id == "job-00001"]
            assert await move(f.link, late, Handoff("large", at_front=False), LARGE)
        assert await let_go(f) == ["job-00002"]

    fleet(story)


def test_a_breaker_that_opens_again_resets_the_release(fleet):
    async def story(f):
        for number in range(1, 10):
            await held(f, f"job-0000{number}")
        policy = BreakerPolicy(consecutive_failures=1)
        for _ in range(2):
            for _ in await let_go(f):
                await ends(f)
        assert f.store.hget("of:release-window", "smol") == b"3"
        worker = await f.start_worker("unlucky", QueueSubscription(SMOL, (BackendCapacity("box", 9),)), policy=policy)
        await f.accept("job-other")
        await f.finish_calls(worker, CallSignal.FAILURE)
        assert f.store.hget("of:release-window", "smol") is None
        assert len(await let_go(f)) == 1

    fleet(story)


def test_no_job_is_released_before_its_time(fleet):
    async def story(f):
        await held(f, "job-00001", ready_in=30)
        f.clock.now += 29
        assert await let_go(f) == []
        f.clock.now += 1
        assert await let_go(f) == ["job-00001"]

    fleet(story)


def test_a_job_that_two_models_may_release_is_released_by_the_first_and_by_no_other(fleet):
    async def story(f):
        await held(f, "job-00001", models=("smol", "large"))
        assert await let_go(f, "large") == ["job-00001"]
        assert f.record_field("job-00001", "queue") == LARGE
        assert await let_go(f, "smol") == []
        assert f.store.zcard("of:held:smol") == 0

    fleet(story)


def test_a_job_of_a_paused_queue_stays_held_and_those_behind_it_do_not(fleet):
    async def story(f):
        await held(f, "job-00001", "gpu.smol.interactive")
        await held(f, "job-00002", "gpu.smol.batch")
        assert await let_go(f, urgencies=(Urgency.BACKGROUND, Urgency.BATCH)) == ["job-00002"]

    fleet(story)


def test_two_degrade_workers_that_release_at_once_release_each_job_once(fleet):
    async def story(f):
        for number in range(1, 7):
            await held(f, f"job-0000{number}")
        offers = [ReleaseBudget("smol", "gpu", 4, ALL)]
        releases = await asyncio.gather(*(release_held(f.link, offers, 2) for _ in range(4)))
        ids = [job_id for round_ in releases for job_id, _ in round_]
        assert len(ids) == len(set(ids)) == 2

    fleet(story)


def test_a_released_job_starts_its_chain_again_and_keeps_its_events(fleet):
    async def story(f):
        await f.accept("job-00001")
        worker = await f.worker()
        await f.settle(worker, await f.claim(worker), Fall(HoldReason.OUTAGE, "away"))
        await f.degrade()
        await let_go(f)
        record = await f.job_store.record("job-00001")
        assert (record.state, record.held_for, len(record.attempts)) == ("queued", None, 1)
        worker = await f.start_worker("heir", QueueSubscription(SMOL, (BackendCapacity("box", 9),)))
        delivery = await f.claim(worker)
        assert (delivery.attempts, delivery.fall) == (b"", None)
        assert "smol takes calls again" in f.events("job-00001")[-2]["why"]

    fleet(story)


def test_crashes_are_not_forgiven_by_a_release(fleet):
    async def story(f):
        await held(f, "job-00001")
        f.store.hset("of:job:job-00001", "crashes", 2)
        await let_go(f)
        assert (await f.job_store.record("job-00001")).crashes == 2

    fleet(story)


def test_released_jobs_that_were_lost_keep_no_job_waiting(fleet):
    async def story(f):
        await held(f, "job-00001")
        f.store.zadd("of:released:smol", {f"job-of-an-older-openfall-{number}": number for number in range(64)})
        assert await let_go(f) == ["job-00001"]

    fleet(story)


def test_any_number_of_jobs_of_a_paused_queue_block_no_other_release(fleet):
    async def story(f):
        for number in range(100, 180):
            await held(f, f"job-00{number}", "gpu.smol.interactive")
        await held(f, "job-00001", "gpu.smol.background")
        assert await let_go(f, urgencies=(Urgency.BACKGROUND,)) == ["job-00001"]

    fleet(story)


def test_the_notice_of_recovery_comes_with_the_first_answer_not_with_the_last(fleet):
    async def story(f):
        record = to_json({"reason": "outage", "counts": ["u:background"], "notify": ["discord"]})
        for number in (1, 2, 3):
            await f.accept(f"job-0000{number}", queue=SMOL)
            worker = await f.start_worker("faller", QueueSubscription(SMOL, (BackendCapacity("box", 9),)))
            await uncalled(worker, await f.claim(worker), Fall(HoldReason.OUTAGE, "away"))
            await f.degrade(fall=record)
        (incident,) = await open_incidents(f.link)
        f.clock.now += QUIET_SECONDS + 1
        assert await close_incident(f.link, "outage", ("smol",)) is None
        (first,) = await let_go(f)
        assert await close_incident(f.link, "outage", ("smol",)) is None, "it is on its way"
        assert await ends(f) == first
        assert await close_incident(f.link, "outage", ("smol",)) == incident.id
        assert f"notice:discord:{incident.id}:recovered".encode() in f.store.zrange("of:outbox", 0, -1)
        closed = await fetch_incident(f.link, incident.id)
        assert (closed.falls, closed.replayed, closed.held) == (3, 1, 2)
        assert await let_go(f), "the others follow"
        await ends(f)
        assert f.store.hget(f"of:incident:{incident.id}", "answered_at") == b"%d" % (f.clock.now * 1000)

    fleet(story)
