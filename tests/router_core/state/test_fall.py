"""A fallen job goes through `degrade` and ends in one settle: its record, its incident, its hold, its notices."""

from __future__ import annotations

import asyncio
import json

import pytest

from openfall.router_core.deciding.steps import Fall, Handoff
from openfall.router_core.degrading.degrade import DefaultFallback
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.beats_and_leases import LEASE_SECONDS
from openfall.router_core.state.held_jobs import ReleaseBudget, release_held, replay_held
from openfall.router_core.state.jobs import end_job as finish
from openfall.router_core.state.reap_and_sweep import reap
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import HoldReason, Remedy, Urgency

JOB = "job-00001"
QUEUE = "gpu.smol.background"
DEGRADE = QueueSubscription("degrade", (BackendCapacity("degrade", 8),))
OUTAGE = Fall(HoldReason.OUTAGE, "every model is away")
BODY = {"choices": [{"message": {"role": "assistant", "content": "the lights are out"}}]}


def record_of(job_id: str = JOB, reason: str = "outage", **more) -> bytes:
    record = {"id": job_id, "reason": reason, "counts": ["u:background", "m:smol"], "notify": ["discord"], **more}
    return json.dumps(record).encode()


def interim(job_id: str = JOB) -> Result:
    return Result(
        id=job_id, status=Status.DEGRADED, held_for=HoldReason.OUTAGE, degraded_by=Remedy.CANNED_REPLY, body=BODY
    )


async def falls(f, job_id: str = JOB, queue: str = QUEUE, fall: Fall = OUTAGE, **terms) -> None:
    """A job is accepted, and its worker says that nothing can serve it."""
    await f.accept(job_id, queue=queue, **terms)
    worker = await f.start_worker("worker-a", QueueSubscription(queue, (BackendCapacity("box", 8),)))
    delivery = await f.claim(worker)
    await worker.settle(
        worker.settlement(delivery, DeliveryOutcome(next_step=fall))
    )  # without a call: no breaker hears of it


def mail_of(f, inbox: str = "bot") -> list[tuple[bytes, bytes, bytes]]:
    return [(row[b"id"], row[b"kind"], row[b"reply_to"]) for _, row in f.store.xrange(f"of:inbox:{inbox}")]


def test_a_fallen_job_waits_in_degrade_with_its_queue_and_its_reason(fleet):
    async def story(f):
        await falls(f)
        assert f.rq_places(JOB) == [("queue", "degrade")]
        assert [row["event"] for row in f.events(JOB)] == ["queued", "started", "fallen"]
        degrade = await f.start_worker("degrader", DEGRADE)
        fell = (await f.claim(degrade)).fall
        assert (fell.reason, fell.detail, fell.at, fell.falls) == ("outage", "every model is away", f.clock.now, 1)
        assert f.record_field(JOB, "fell_from") == QUEUE

    fleet(story)


def test_fallen_interactive_jobs_are_delivered_first(fleet):
    async def story(f):
        for number, urgency in enumerate(("batch", "background", "interactive"), 1):
            await falls(f, f"job-0000{number}", f"gpu.smol.{urgency}")
        degrade = await f.start_worker("degrader", DEGRADE)
        first, *_ = (await degrade.claim(8, 0)).deliveries
        assert first.id == "job-00003"

    fleet(story)


def test_a_degrade_settle_that_is_sent_again_counts_once(fleet):
    async def story(f):
        await falls(f, inbox="bot", reply_to=b'["chat",7]', webhook="https://example.org/hook")
        degrade = await f.start_worker("degrader", DEGRADE)
        delivery = await f.claim(degrade)
        hold = Hold(reason=HoldReason.OUTAGE, detail="away", models=("smol", "large"))
        settle = degrade.settlement(
            delivery, DeliveryOutcome(next_step=hold, fall_record=record_of(), interim_reply=interim())
        )
        outcomes = [(await degrade.settle(settle)).outcome for _ in range(3)]
        assert outcomes == ["settled", "again", "again"]
        assert f.rq_places(JOB) == [("deferred", "degrade")]
        assert f.store.xlen("of:falls") == 1
        (incident,) = f.store.hgetall("of:incidents").values()
        stored = f.store.hgetall(b"of:incident:" + incident)
        assert {name: stored[name] for name in (b"falls", b"held", b"u:background", b"m:smol")} == {
            b"falls": b"1", b"held": b"1", b"u:background": b"1", b"m:smol": b"1",
        }  # fmt: skip
        assert mail_of(f) == [(JOB.encode(), b"degraded", b'["chat",7]')]
        outbox = {entry.decode().replace(incident.decode(), "ID") for entry in f.store.zrange("of:outbox", 0, -1)}
        assert outbox == {f"job:{JOB}:degraded", "notice:discord:ID:began", "notice:discord:ID:update"}
        assert [row["event"] for row in f.events(JOB)][-2:] == ["degraded", "held"]

    fleet(story)


def test_falls_for_one_reason_are_one_incident_and_each_reason_has_its_own(fleet):
    async def story(f):
        for number, reason in enumerate(("outage", "outage", "budget"), 1):
            await falls(f, job_id := f"job-0000{number}", fall=Fall(HoldReason(reason), "so it is"))
            await f.degrade(fall=record_of(job_id, reason))
            f.clock.now += 1
        incidents = f.store.hgetall("of:incidents")
        counts = {
            reason: f.store.hget(b"of:incident:" + incident_id, "falls") for reason, incident_id in incidents.items()
        }
        assert counts == {b"outage": b"2", b"budget": b"1"}
        began = [entry for entry in f.store.zrange("of:outbox", 0, -1) if entry.endswith(b":began")]
        assert len(began) == 2

    fleet(story)


def test_a_dead_degrade_worker_is_no_crash_of_its_job(fleet):
    async def story(f):
        await falls(f)
        for number in range(4):
            degrade = await f.start_worker(f"degrader-{number}", DEGRADE)
            await f.claim(degrade)
            await f.pass_time(LEASE_SECONDS + 1)
            assert await reap(f.link) == [(JOB, "degrade", "queued")]
        assert f.rq_places(JOB) == [("queue", "degrade")]
        assert (await f.job_store.record(JOB)).crashes == 0

    fleet(story)


def test_a_frozen_degrade_worker_that_comes_back_late_changes_nothing(fleet):
    async def story(f):
        await falls(f)
        slow = await f.start_worker("slow", DEGRADE)
        delivery = await f.claim(slow)
        await f.pass_time(LEASE_SECONDS + 1)
        await reap(f.link)
        await f.degrade(fall=record_of())
        hold = Hold(reason=HoldReason.OUTAGE, detail="away", models=("smol",))
        late = slow.settlement(
            delivery, DeliveryOutcome(next_step=hold, fall_record=record_of(), interim_reply=interim())
        )
        assert (await slow.settle(late)).outcome == "late"
        assert f.store.xlen("of:falls") == 1
        assert f.rq_places(JOB) == [("deferred", "degrade")]

    fleet(story)


def test_a_default_fallback_that_fails_returns_the_job_to_the_queue_of_its_first_fall(fleet):
    async def story(f):
        await falls(f)
        await f.degrade(DefaultFallback("large", at_front=False, why="smol is away; its default fallback is large"))
        event = f.events(JOB)[-2]
        assert (event["event"], event["by"], event["reason"]) == ("degraded", "default_fallback", "outage")
        worker = await f.start_worker("worker-b", QueueSubscription(QUEUE, (BackendCapacity("box", 8),)))
        delivery = await f.claim(worker)
        assert (delivery.fall.default_fallback, delivery.fall.detail) == ("large", "every model is away")
        await f.settle(worker, delivery, OUTAGE)
        assert f.record_field(JOB, "fell_from") == QUEUE
        assert (await f.degrade()).fall.falls == 2
        assert await replayed(f) == QUEUE

    fleet(story)


async def replayed(f) -> str:
    await replay_held(f.link, JOB)
    assert f.record_field(JOB, "default_fallback") is None
    return f.record_field(JOB, "queue")


def test_the_interim_reply_exists_only_while_the_job_is_held(fleet):
    async def story(f):
        await falls(f)
        await f.degrade(fall=record_of(), reply=interim())
        assert b"the lights are out" in f.store.hget("of:job:" + JOB, "reply")
        await replayed(f)
        assert f.store.hget("of:job:" + JOB, "reply") is None

    fleet(story)


@pytest.mark.parametrize(("urgency", "text", "hears"), [
    ("interactive", True, True), ("interactive", False, True), ("batch", True, True), ("batch", False, False),
])  # fmt: skip
def test_an_inbox_gets_a_hold_of_an_interactive_job_or_one_with_a_text(fleet, urgency, text, hears):
    async def story(f):
        await falls(f, queue=f"gpu.smol.{urgency}", inbox="bot")
        reply = interim() if text else Result(id=JOB, status=Status.DEGRADED, held_for=HoldReason.OUTAGE)
        await f.degrade(fall=record_of(), reply=reply)
        assert [kind for _, kind, _ in mail_of(f)] == [b"degraded"] * hears

    fleet(story)


def test_a_producer_is_notified_once_of_a_hold_however_often_the_job_falls(fleet):
    async def story(f):
        await falls(f, inbox="bot")
        await f.degrade(fall=record_of(), reply=interim())
        for _ in range(3):
            await release_held(f.link, [ReleaseBudget("smol", "gpu", 2, tuple(Urgency))], 1)
            worker = await f.start_worker("worker-b", QueueSubscription(QUEUE, (BackendCapacity("box", 8),)))
            await f.settle(worker, await f.claim(worker), OUTAGE)
            await f.degrade(fall=record_of(), reply=interim())
        assert [kind for _, kind, _ in mail_of(f)] == [b"degraded"]
        assert f.store.xlen("of:falls") == 4

    fleet(story)


@pytest.mark.parametrize("end", ["answered", "cancelled", "expired while it was held"])
def test_every_end_of_a_job_reaches_its_inbox_and_its_webhook_once(fleet, end):
    async def story(f):
        if end == "answered":
            await f.accept(inbox="bot", webhook="https://example.org/hook")
            worker = await f.worker()
            await f.settle(worker, await f.claim(worker))
        else:
            await falls(f, inbox="bot", webhook="https://example.org/hook")
            await f.degrade(fall=record_of())
            if end == "cancelled":
                await f.job_store.cancel(JOB)
            else:
                await finish(f.link, Result(id=JOB, status=Status.EXPIRED), rq_status="failed", expected_deliveries=2)
        assert [kind for _, kind, _ in mail_of(f)] == [b"done"]
        assert f"job:{JOB}:done".encode() in f.store.zrange("of:outbox", 0, -1)
        assert f.store.ttl("of:result:" + JOB) == 604800, "kept until it is read"

    fleet(story)


def test_an_incident_counts_its_held_jobs_whatever_their_end(fleet):
    async def story(f):
        for number in range(1, 5):
            await falls(f, f"job-0000{number}")
            await f.degrade(fall=record_of(f"job-0000{number}"))
        await f.job_store.cancel("job-00001")
        await replay_held(f.link, "job-00002")
        await finish(f.link, Result(id="job-00003", status=Status.EXPIRED), rq_status="failed", expected_deliveries=2)
        (incident,) = f.store.hgetall("of:incidents").values()
        held, replayed_, expired = f.store.hmget(b"of:incident:" + incident, "held", "replayed", "expired")
        assert (held, replayed_, expired) == (b"1", b"1", b"1")

    fleet(story)


def test_an_answer_is_remembered_under_its_key(fleet):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        delivery = await f.claim(worker)
        ending = DeliveryOutcome(next_step=f.answered(delivery), remember_answer=("team:abc", 60.0))
        await worker.settle(worker.settlement(delivery, ending))
        assert f.store.get("of:last-answer:team:abc") == f.store.get("of:result:" + JOB)
        assert 0 < f.store.ttl("of:last-answer:team:abc") <= 60

    fleet(story)


def test_three_degrade_workers_that_claim_at_once_settle_each_fall_once(fleet):
    async def story(f):
        for number in range(1, 8):
            await falls(f, f"job-0000{number}")
        workers = [await f.start_worker(f"degrader-{n}", DEGRADE) for n in range(3)]
        claims = await asyncio.gather(*(worker.claim(4, 0) for worker in workers))
        ids = sorted(delivery.id for claim in claims for delivery in claim.deliveries)
        assert ids == [f"job-0000{number}" for number in range(1, 8)]

    fleet(story)


def test_a_hand_off_of_a_default_fallback_goes_to_the_next_model_of_the_chain(fleet):
    async def story(f):
        await falls(f)
        await f.degrade(DefaultFallback("large", at_front=True, why="its default fallback is large"))
        worker = await f.start_worker("worker-b", QueueSubscription(QUEUE, (BackendCapacity("box", 8),)))
        await f.settle(worker, await f.claim(worker), Handoff("large", at_front=False), to=QUEUE)
        assert f.rq_places(JOB) == [("queue", QUEUE)]

    fleet(story)


WEEK = 7 * 86400.0


@pytest.mark.parametrize(
    ("urgency", "terms", "longer"),
    [
        pytest.param("batch", {"has_deadline": False}, True, id="a job whose producer reads the result later"),
        pytest.param(
            "interactive", {"has_deadline": False, "inbox": "bot"}, True, id="a job whose answer is read later"
        ),
        pytest.param("interactive", {"has_deadline": False}, True, id="a job whose caller was promised an answer"),
        pytest.param("interactive", {"has_deadline": True}, False, id="a promise to a caller who has set a deadline"),
        pytest.param("batch", {"has_deadline": True}, False, id="a job whose caller has set a deadline"),
    ],
)
def test_a_hold_may_exceed_a_guessed_deadline_and_never_a_set_one(fleet, urgency, terms, longer):
    async def story(f):
        await falls(f, queue=f"gpu.smol.{urgency}", **terms)
        before = (await f.job_store.record(JOB)).deadline
        hold = Hold(reason=HoldReason.OUTAGE, detail="away", models=("smol",), keep_until=f.clock.now + WEEK)
        await f.degrade(hold, fall=record_of())
        deadline = f.clock.now + WEEK if longer else before
        assert (await f.job_store.record(JOB)).deadline == deadline
        assert f.store.zscore("of:unfinished", JOB) == deadline * 1000, "the sweep looks at it then, and not before"

    fleet(story)


@pytest.mark.parametrize(
    ("urgency", "text", "kept"),
    [("interactive", "Sorry.", True), ("interactive", "", True), ("batch", "Sorry.", True), ("batch", "", False)],
)
def test_the_answer_to_a_caller_with_an_interim_reply_is_kept_for_as_long_as_the_reply_promised(
    fleet, urgency, text, kept
):
    async def story(f):
        await falls(f, queue=f"gpu.smol.{urgency}", has_deadline=False)
        hold = Hold(reason=HoldReason.OUTAGE, detail="away", models=("smol",), keep_until=f.clock.now + WEEK)
        body = {"choices": [{"message": {"role": "assistant", "content": text}}]} if text else None
        reply = Result(id=JOB, status=Status.DEGRADED, held_for=HoldReason.OUTAGE, body=body)
        await f.degrade(hold, fall=record_of(), reply=reply)
        await replay_held(f.link, JOB)
        queue = QueueSubscription(f"gpu.smol.{urgency}", (BackendCapacity("box", 8),))
        worker = await f.start_worker("worker-b", queue)
        f.clock.now += 36
        await f.settle(worker, await f.claim(worker))
        seconds = WEEK - 36 if kept else 900
        for key in (f"of:job:{JOB}", f"of:result:{JOB}", f"rq:job:{JOB}"):
            assert abs(f.store.ttl(key) - seconds) < 5

    fleet(story)
