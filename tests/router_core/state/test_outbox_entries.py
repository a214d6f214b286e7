"""What leaves the house: one poster at a time, nothing lost with a poster."""

from __future__ import annotations

from pydantic_core import to_json

from openfall.router_core.deciding.steps import Fall
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.jobs.envelope import pack_result
from openfall.router_core.jobs.outcome import Completion
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state import outbox
from openfall.router_core.state.held_jobs import replay_held
from openfall.router_core.state.incidents import close_incident
from openfall.router_core.state.outbox import LEASE_SECONDS, JobEntry
from openfall.router_core.vocabulary import HoldReason, Remedy
from tests.router_core.state.outbox_steps import JOB, ONE_IN_TEN_MINUTES, ended, put, tell, waits

FALL = {
    "reason": "outage",
    "notify": ["discord"],
    "counts": ["u:background", "m:smol", "c:timeout", "s:canned_reply"],
}


def test_an_entry_goes_to_one_dispatcher_and_again_when_that_one_is_dead(fleet):
    async def story(f):
        put(f)
        (taken,) = await outbox.claim_entries(f.link, 8)
        assert taken.subject == JobEntry("job-00001", "done")
        f.clock.now += LEASE_SECONDS - 1
        assert await outbox.claim_entries(f.link, 8) == []
        f.clock.now += 1
        (second,) = await outbox.claim_entries(f.link, 8)
        assert (second.entry, second.tries, second.first_claimed_at) == (JOB, 0, taken.first_claimed_at)
        assert not await outbox.mark_delivered(f.link, taken), (
            "the first may not be dead, only slow: it has nothing to say"
        )
        assert await outbox.mark_delivered(f.link, second)
        assert not f.store.exists("of:outbox", f"of:outbox-entry:{JOB}")

    fleet(story)


def test_the_longest_due_entries_are_claimed_first_up_to_the_limit(fleet):
    async def story(f):
        for number in range(3):
            put(f, f"job:job-0000{number}:done")
            f.clock.now += 1
        assert [claimed.entry for claimed in await outbox.claim_entries(f.link, 2)] == [
            "job:job-00000:done",
            "job:job-00001:done",
        ]
        assert [claimed.entry for claimed in await outbox.claim_entries(f.link, 2)] == ["job:job-00002:done"]
        put(f, "job:job-00009:done")
        f.clock.now -= 2
        assert await outbox.claim_entries(f.link, 2) == [], "it is not due yet"

    fleet(story)


def test_a_failed_try_is_counted_and_a_deferred_one_is_not(fleet):
    async def story(f):
        put(f)
        for wait, step in ((5, "again"), (7, "later")):
            (taken,) = await outbox.claim_entries(f.link, 1)
            done = await (outbox.retry_entry(f.link, taken, 5, "HTTP 503") if step == "again"
                          else outbox.defer_entry(f.link, taken, 7))  # fmt: skip
            assert done
            assert waits(f) == {JOB: wait}
            f.clock.now += wait
        assert await outbox.list_pending(f.link, 10) == [outbox.PendingEntry(JOB, f.clock.now, 1, "HTTP 503")]
        (taken,) = await outbox.claim_entries(f.link, 1)
        assert taken.tries == 1
        assert f.store.hget(f"of:outbox-entry:{JOB}", "why") == b"HTTP 503"

    fleet(story)


def test_dead_letters_are_counted_listed_bounded_and_expire(fleet):
    async def story(f):
        for number in range(outbox.MAX_DEAD_LETTERS + 1):
            put(f, f"job:job-{number:05}:done")
            (taken,) = await outbox.claim_entries(f.link, 1)
            assert await outbox.mark_dead(f.link, taken, "bot.example:443", "HTTP 500")
        assert f.counter("webhook_given_up") == outbox.MAX_DEAD_LETTERS + 1
        letters = await outbox.list_dead_letters(f.link)
        assert len(letters) == outbox.MAX_DEAD_LETTERS
        assert (letters[0].entry, letters[0].host, letters[0].why, letters[0].tries) == (
            f"job:job-{number:05}:done", "bot.example:443", "HTTP 500", 1)  # fmt: skip
        assert await outbox.list_pending(f.link, 10) == []
        assert await outbox.count_dead_letters(f.link) == outbox.MAX_DEAD_LETTERS
        assert f.store.ttl("of:dead-letters") == 7 * 86400, "a week after the last one"

    fleet(story)


def test_the_notification_of_a_job_is_its_interim_reply_while_it_is_held_then_its_result(fleet):
    async def story(f):
        interim, result = JobEntry("job-00001", "degraded"), JobEntry("job-00001", "done")
        reply = Result(id="job-00001", status=Status.DEGRADED, body={"message": {"content": "later"}})
        f.store.hset("of:job:job-00001", mapping={
            "webhook": "https://bot.example/h", "reply_to": '{"channel": 7}', "held_at": 1700000000500,
            "reply": pack_result(reply)})  # fmt: skip
        notification = await outbox.read_notification(f.link, interim)
        assert (notification.url, notification.result.text, notification.reply_to, notification.at) == (
            "https://bot.example/h", "later", {"channel": 7}, 1700000000.5)  # fmt: skip
        assert await outbox.read_notification(f.link, result) is None
        f.store.hdel("of:job:job-00001", "reply", "held_at")
        f.store.hset("of:job:job-00001", "ended", 1700000100000)
        f.store.set("of:result:job-00001", pack_result(Result(id="job-00001", status=Status.EXPIRED)))
        assert await outbox.read_notification(f.link, interim) is None
        assert (await outbox.read_notification(f.link, result)).result.status is Status.EXPIRED
        f.store.hdel("of:job:job-00001", "webhook")
        assert await outbox.read_notification(f.link, result) is None, "it has no webhook"

    fleet(story)


def test_an_unknown_entry_has_no_subject(fleet):
    async def story(f):
        for entry in ("parcel:x", "job:", "notice:discord:outage-1:sang"):
            put(f, entry)
        assert [claimed.subject for claimed in await outbox.claim_entries(f.link, 8)] == [None, None, None]

    fleet(story)


def test_an_outage_of_a_job_notifies_its_producer_and_its_operators(fleet):
    """Everything here is put into the outbox by the scripts that move the job."""

    async def story(f):
        await f.accept("job-00001", webhook="https://bot.example/h", reply_to=b'{"channel": 7}')
        worker = await f.worker()
        await f.settle(worker, await f.claim(worker), Fall(HoldReason.OUTAGE, "smol's breaker is open"))
        reply = Result(id="job-00001", status=Status.DEGRADED, body={"message": {"content": "later"}},
                       held_for=HoldReason.OUTAGE)  # fmt: skip
        landing = Hold(reason=HoldReason.OUTAGE, detail="smol's breaker is open", by=Remedy.CANNED_REPLY,
                       reply=Completion(text="later", finish_reason="", body={}), models=("smol",))  # fmt: skip
        await f.degrade(landing, to_json(FALL), reply)
        taken = {
            claimed.entry.partition(":")[0] + claimed.entry.rpartition(":")[2]: claimed
            for claimed in await outbox.claim_entries(f.link, 8)
        }
        assert set(taken) == {"jobdegraded", "noticebegan", "noticeupdate"}
        interim = await outbox.read_notification(f.link, taken["jobdegraded"].subject)
        assert (interim.result.text, interim.result.final, interim.reply_to) == ("later", False, {"channel": 7})
        await outbox.mark_delivered(f.link, taken["jobdegraded"])
        assert await outbox.admit_notice(f.link, taken["noticeupdate"], ONE_IN_TEN_MINUTES) is None
        began_turn = await outbox.admit_notice(f.link, taken["noticebegan"], ONE_IN_TEN_MINUTES)
        incident = began_turn.incident
        assert (incident.falls, incident.held, incident.models, incident.remedies) == (
            1,
            1,
            {"smol": 1},
            {"canned_reply": 1},
        )
        await outbox.record_notified(f.link, taken["noticebegan"], began_turn, "m1", 10)
        f.clock.now += 20
        assert await close_incident(f.link, "outage", ("smol",)) is None
        await replay_held(f.link, "job-00001")
        assert [(await tell(f)).incident.replayed] == [1], "an update"
        assert await outbox.read_notification(f.link, taken["jobdegraded"].subject) is None, "it went on"
        assert await f.settle(worker, await f.claim(worker)) == "settled"
        await ended(f)
        taken = {claimed.entry.rpartition(":")[2]: claimed for claimed in await outbox.claim_entries(f.link, 8)}
        assert set(taken) == {"done", "recovered"}
        result = await outbox.read_notification(f.link, taken["done"].subject)
        assert (result.result.status, result.at, result.url) == (
            Status.ANSWERED, f.clock.now - 10, "https://bot.example/h")  # fmt: skip
        over = await outbox.admit_notice(f.link, taken["recovered"], ONE_IN_TEN_MINUTES)
        assert (over.incident.held, over.incident.replayed, over.incident.ended_at) == (0, 1, f.clock.now)

    fleet(story)


def test_a_result_that_arrives_while_the_interim_reply_is_posted_is_posted_too(fleet):
    """Held, replayed and held again while a slow receiver takes the first event: both events are sent."""

    async def story(f):
        await f.accept("job-00001", webhook="https://bot.example/h")
        worker = await f.worker()
        hold = Hold(reason=HoldReason.OUTAGE, detail="away", by=Remedy.CANNED_REPLY,
                    reply=Completion(text="later", finish_reason="", body={}), models=("smol",))  # fmt: skip

        async def is_held(text: str) -> None:
            reply = Result(id="job-00001", status=Status.DEGRADED, body={"message": {"content": text}},
                           held_for=HoldReason.OUTAGE)  # fmt: skip
            await f.settle(worker, await f.claim(worker), Fall(HoldReason.OUTAGE, "away"))
            await f.degrade(hold, to_json({**FALL, "notify": []}), reply)

        await is_held("first")
        (first,) = await outbox.claim_entries(f.link, 8)
        assert await outbox.retry_entry(f.link, first, 0.001, "HTTP 503")
        f.clock.now += 1
        (first,) = await outbox.claim_entries(f.link, 8)
        await replay_held(f.link, "job-00001")
        await is_held("second")
        assert not await outbox.mark_delivered(f.link, first), "what it has posted is not what there is to post"
        (second,) = await outbox.claim_entries(f.link, 8)
        assert (second.entry, second.tries) == (first.entry, 0)
        assert (await outbox.read_notification(f.link, second.subject)).result.text == "second"

    fleet(story)
