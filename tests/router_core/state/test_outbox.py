"""What leaves the house: one poster at a time, nothing lost with a poster, and how often people are told."""

from __future__ import annotations

from pydantic_core import to_json

from router_core.decide import Fall
from router_core.degrade import Hold
from router_core.envelope import pack_result
from router_core.open_fall import HoldReason, Remedy
from router_core.outcome import Completion
from router_core.result import Result, Status
from router_core.state import outbox
from router_core.state.holds import replay
from router_core.state.incidents import close
from router_core.state.outbox import LEASE, JobPost, NoticeKind, NoticePost, Turns

JOB = "job:job-00001:done"
ONE_IN_TEN_MINUTES = Turns(most=1, seconds=600, update_every=10, on_recovery=True)


def put(f, entry=JOB):
    f.store.zadd("of:outbox", {entry: int(f.clock.now * 1000)}, nx=True)


def began(f, reason="outage", **fields):
    """An incident as falls leave it, and its notice for Discord."""
    now = int(f.clock.now * 1000)
    incident = f"{reason}-{now}"
    told = {"reason": reason, "began": now, "last": now, "falls": 1, "held": 0, "ended": "", "version": 1,
            "notify": "discord,webhook", **fields}  # fmt: skip
    f.store.hset(f"of:incident:{incident}", mapping=told)
    f.store.hset("of:incidents", reason, incident)
    put(f, f"notice:discord:{incident}:began")
    return incident


async def ended(f, reason="outage"):
    f.clock.now += 10
    assert await close(f.link, reason, ())


def waits(f):
    """The entries in the outbox, and how long each waits from now on."""
    rows = f.store.zrange("of:outbox", 0, -1, withscores=True)
    return {entry.decode(): round(at / 1000 - f.clock.now, 1) for entry, at in rows}


async def turn(f, turns=ONE_IN_TEN_MINUTES):
    """Whoever takes the one entry that is due asks for its turn."""
    (taken,) = await outbox.take(f.link, 8)
    return taken, await outbox.notice_turn(f.link, taken, turns)


async def turns(f):
    """The turns of everything that is due, the beginnings first."""
    taken = sorted(await outbox.take(f.link, 8), key=lambda one: one.what.kind)
    return [await outbox.notice_turn(f.link, one, ONE_IN_TEN_MINUTES) for one in taken]


async def tell(f, message="", turns=ONE_IN_TEN_MINUTES):
    """The one notice that is due is told."""
    taken, its_turn = await turn(f, turns)
    assert its_turn is not None, taken.entry
    await outbox.told(f.link, taken, its_turn, message, turns.update_every)
    return its_turn


def test_an_entry_is_handed_to_one_poster_and_again_when_that_one_is_dead(fleet):
    async def story(f):
        put(f)
        (taken,) = await outbox.take(f.link, 8)
        assert taken.what == JobPost("job-00001", "done")
        f.clock.now += LEASE - 1
        assert await outbox.take(f.link, 8) == []
        f.clock.now += 1
        (second,) = await outbox.take(f.link, 8)
        assert (second.entry, second.tries, second.since) == (JOB, 0, taken.since)
        assert not await outbox.done(f.link, taken), "the first may not be dead, only slow: it has nothing to say"
        assert await outbox.done(f.link, second)
        assert not f.store.exists("of:outbox", f"of:posting:{JOB}")

    fleet(story)


def test_what_is_due_longest_is_taken_first_and_no_more_than_wanted(fleet):
    async def story(f):
        for number in range(3):
            put(f, f"job:job-0000{number}:done")
            f.clock.now += 1
        assert [one.entry for one in await outbox.take(f.link, 2)] == ["job:job-00000:done", "job:job-00001:done"]
        assert [one.entry for one in await outbox.take(f.link, 2)] == ["job:job-00002:done"]
        put(f, "job:job-00009:done")
        f.clock.now -= 2
        assert await outbox.take(f.link, 2) == [], "it is not due yet"

    fleet(story)


def test_a_try_in_vain_is_counted_and_one_that_was_not_made_is_not(fleet):
    async def story(f):
        put(f)
        for wait, step in ((5, "again"), (7, "later")):
            (taken,) = await outbox.take(f.link, 1)
            done = await (outbox.again(f.link, taken, 5, "HTTP 503") if step == "again"
                          else outbox.later(f.link, taken, 7))  # fmt: skip
            assert done
            assert waits(f) == {JOB: wait}
            f.clock.now += wait
        (taken,) = await outbox.take(f.link, 1)
        assert taken.tries == 1
        assert f.store.hget(f"of:posting:{JOB}", "why") == b"HTTP 503"

    fleet(story)


def test_what_is_given_up_is_counted_and_can_be_looked_at_and_no_more_is_kept_than_a_few_hundred(fleet):
    async def story(f):
        for number in range(outbox.MOST_GIVEN_UP + 1):
            put(f, f"job:job-{number:05}:done")
            (taken,) = await outbox.take(f.link, 1)
            assert await outbox.give_up(f.link, taken, "bot.example:443", "HTTP 500")
        assert f.counter("webhook_given_up") == outbox.MOST_GIVEN_UP + 1
        found = await outbox.given_up(f.link)
        assert len(found) == outbox.MOST_GIVEN_UP
        assert (found[0].entry, found[0].place, found[0].why, found[0].tries) == (
            f"job:job-{number:05}:done", "bot.example:443", "HTTP 500", 1)  # fmt: skip
        assert await outbox.waiting(f.link) == {}

    fleet(story)


def test_the_letter_of_a_job_is_its_interim_reply_while_it_is_held_and_then_its_result(fleet):
    async def story(f):
        interim, result = JobPost("job-00001", "degraded"), JobPost("job-00001", "done")
        reply = Result(id="job-00001", status=Status.DEGRADED, body={"message": {"content": "later"}})
        f.store.hset("of:job:job-00001", mapping={
            "webhook": "https://bot.example/h", "reply_to": '{"channel": 7}', "held_at": 1700000000500,
            "reply": pack_result(reply)})  # fmt: skip
        found = await outbox.letter(f.link, interim)
        assert (found.url, found.result.text, found.reply_to, found.at) == (
            "https://bot.example/h", "later", {"channel": 7}, 1700000000.5)  # fmt: skip
        assert await outbox.letter(f.link, result) is None
        f.store.hdel("of:job:job-00001", "reply", "held_at")
        f.store.hset("of:job:job-00001", "ended", 1700000100000)
        f.store.set("of:result:job-00001", pack_result(Result(id="job-00001", status=Status.EXPIRED)))
        assert await outbox.letter(f.link, interim) is None
        assert (await outbox.letter(f.link, result)).result.status is Status.EXPIRED
        f.store.hdel("of:job:job-00001", "webhook")
        assert await outbox.letter(f.link, result) is None, "nobody asked to be told"

    fleet(story)


def test_a_new_incident_is_told_and_the_next_one_too_early_waits_for_its_turn(fleet):
    async def story(f):
        first = began(f)
        its_turn = await tell(f, message="m1")
        assert (its_turn.incident.id, its_turn.unmentioned) == (first, 0)
        f.clock.now += 60
        second = began(f, "poisoned")
        assert (await turn(f))[1] is None
        assert waits(f) == {f"notice:discord:{second}:began": 540}
        f.clock.now += 540
        assert (await tell(f)).incident.reason == "poisoned"
        assert waits(f) == {}

    fleet(story)


def test_what_is_over_before_its_turn_is_dropped_with_its_end_and_counted_for_the_next(fleet):
    async def story(f):
        began(f)
        await tell(f)
        await ended(f)
        await tell(f)
        for _ in range(2):
            f.clock.now += 20
            began(f)
            assert set(await turns(f)) == {None}
            await ended(f)
        assert len(waits(f)) == 4, "two beginnings and two ends"
        f.clock.now += 600
        assert set(await turns(f)) == {None}
        assert waits(f) == {}
        assert not f.store.keys("of:posting:*")
        began(f)
        assert (await tell(f)).unmentioned == 2
        f.clock.now += 600
        began(f, "budget")
        assert (await tell(f)).unmentioned == 0, "they have been told of"

    fleet(story)


def test_a_turn_that_came_to_nothing_is_given_back(fleet):
    async def story(f):
        began(f)
        taken, its_turn = await turn(f)
        assert its_turn is not None
        await outbox.again(f.link, taken, 5, "HTTP 503")
        second = began(f, "poisoned")
        taken, its_turn = await turn(f)
        assert its_turn is not None, "nobody has been told of the first"
        assert taken.what == NoticePost("discord", second, NoticeKind.BEGAN)

    fleet(story)


def test_a_poster_that_died_with_its_turn_does_not_hold_up_its_own_notice(fleet):
    async def story(f):
        began(f)
        assert (await turn(f))[1] is not None
        f.clock.now += LEASE
        assert (await tell(f)).incident.version == 1
        f.clock.now += 60
        began(f, "poisoned")
        assert (await turn(f))[1] is None, "and its turn counts once, from when it was told"
        assert list(waits(f).values()) == [540]

    fleet(story)


def test_the_beginning_of_what_is_over_is_told_first_when_it_was_the_notifier_that_was_down(fleet):
    async def story(f):
        incident = began(f)
        taken, _ = await turn(f)
        await outbox.again(f.link, taken, 300, "HTTP 503")
        await ended(f)
        taken, its_turn = await turn(f)
        assert (taken.what.kind, its_turn) == (NoticeKind.RECOVERED, None)
        assert waits(f) == {f"notice:discord:{incident}:recovered": 10, f"notice:discord:{incident}:began": 290}
        f.store.zadd("of:outbox", {f"notice:discord:{incident}:began": 0})
        began_turn = await tell(f)
        assert began_turn.incident.ended is not None
        recovered = await tell(f)
        assert recovered.incident.id == incident, "at once after it"
        assert waits(f) == {}

    fleet(story)


def test_an_update_is_told_when_there_is_something_new_and_not_too_often(fleet):
    async def story(f):
        incident = began(f)
        update = f"notice:discord:{incident}:update"
        put(f, update)
        takes = {taken.what.kind: taken for taken in await outbox.take(f.link, 8)}
        assert await outbox.notice_turn(f.link, takes["update"], ONE_IN_TEN_MINUTES) is None
        assert update not in waits(f), "the beginning is still to be told, and will tell it"
        its_turn = await outbox.notice_turn(f.link, takes["began"], ONE_IN_TEN_MINUTES)
        f.store.hincrby(f"of:incident:{incident}", "version", 1)
        await outbox.told(f.link, takes["began"], its_turn, "m1", 10)
        assert waits(f) == {update: 10}, "another fall while it was posted"
        f.clock.now += 10
        told = await tell(f)
        assert (told.incident.version, told.incident.told) == (2, {"discord": "m1"})
        put(f, update)
        assert (await turn(f))[1] is None
        assert waits(f) == {}, "nothing new"
        f.clock.now += 4
        f.store.hincrby(f"of:incident:{incident}", "version", 1)
        put(f, update)
        assert (await turn(f))[1] is None
        assert waits(f) == {update: 6}
        await ended(f)
        taken = {one.what.kind: one for one in await outbox.take(f.link, 8)}
        assert await outbox.notice_turn(f.link, taken["update"], ONE_IN_TEN_MINUTES) is None
        assert update not in waits(f), "its end says more"

    fleet(story)


def test_an_end_is_told_only_where_that_is_wanted_and_the_beginning_was(fleet):
    async def story(f):
        began(f)
        await tell(f)
        await ended(f)
        quiet = Turns(most=1, seconds=600, update_every=10, on_recovery=False)
        assert (await turn(f, quiet))[1] is None
        assert waits(f) == {}
        f.clock.now += 600
        incident = began(f)
        f.store.delete("of:outbox")  # somebody took the notifier out of the configuration, and put it back
        await ended(f)
        assert waits(f) == {}
        put(f, f"notice:discord:{incident}:recovered")
        assert (await turn(f))[1] is None
        assert waits(f) == {}

    fleet(story)


def test_each_notifier_has_its_own_turns(fleet):
    async def story(f):
        incident = began(f)
        put(f, f"notice:webhook:{incident}:began")
        taken = await outbox.take(f.link, 8)
        turns = [await outbox.notice_turn(f.link, one, ONE_IN_TEN_MINUTES) for one in taken]
        assert None not in turns
        for one, its_turn in zip(taken, turns, strict=True):
            await outbox.told(f.link, one, its_turn, "m1" if "discord" in one.entry else "", 10)
        found = f.store.hgetall(f"of:incident:{incident}")
        assert (b"told:webhook" in found, b"message:webhook" in found, found[b"message:discord"]) == (
            True,
            False,
            b"m1",
        )

    fleet(story)


def test_several_may_be_told_at_once_where_that_is_allowed(fleet):
    async def story(f):
        turns = Turns(most=2, seconds=600, update_every=10, on_recovery=True)
        for reason in ("outage", "budget"):
            began(f, reason)
            await tell(f, turns=turns)
            f.clock.now += 100
        began(f, "poisoned")
        assert (await turn(f, turns))[1] is None
        assert list(waits(f).values()) == [400], "when the first of the two is long enough ago"

    fleet(story)


def test_the_notice_of_an_incident_that_is_forgotten_is_dropped(fleet):
    async def story(f):
        incident = began(f)
        f.store.delete(f"of:incident:{incident}")
        assert (await turn(f))[1] is None
        assert waits(f) == {}

    fleet(story)


def test_what_nobody_knows_is_no_post(fleet):
    async def story(f):
        for entry in ("parcel:x", "job:", "notice:discord:outage-1:sang"):
            put(f, entry)
        assert [one.what for one in await outbox.take(f.link, 8)] == [None, None, None]

    fleet(story)


FALL = {
    "reason": "outage",
    "notify": ["discord"],
    "counts": ["u:background", "m:smol", "c:timeout", "s:canned_reply"],
}


def test_a_job_s_way_through_an_outage_is_told_to_its_producer_and_to_people(fleet):
    """Everything here is put into the outbox by the scripts that move the job."""

    async def story(f):
        await f.accept("job-00001", webhook="https://bot.example/h", reply_to=b'{"channel": 7}')
        worker = await f.worker()
        await f.settle(worker, await f.claim(worker), Fall(HoldReason.OUTAGE, "smol's breaker is open"))
        reply = Result(id="job-00001", status=Status.DEGRADED, body={"message": {"content": "later"}},
                       held_for=HoldReason.OUTAGE)  # fmt: skip
        landing = Hold(reason=HoldReason.OUTAGE, detail="smol's breaker is open", by=Remedy.CANNED_REPLY,
                       reply=Completion(text="later", finish_reason="", body={}), models=("smol",))  # fmt: skip
        await f.lands(landing, to_json(FALL), reply)
        taken = {
            one.entry.partition(":")[0] + one.entry.rpartition(":")[2]: one for one in await outbox.take(f.link, 8)
        }
        assert set(taken) == {"jobdegraded", "noticebegan", "noticeupdate"}
        interim = await outbox.letter(f.link, taken["jobdegraded"].what)
        assert (interim.result.text, interim.result.final, interim.reply_to) == ("later", False, {"channel": 7})
        await outbox.done(f.link, taken["jobdegraded"])
        assert await outbox.notice_turn(f.link, taken["noticeupdate"], ONE_IN_TEN_MINUTES) is None
        began_turn = await outbox.notice_turn(f.link, taken["noticebegan"], ONE_IN_TEN_MINUTES)
        found = began_turn.incident
        assert (found.falls, found.held, found.models, found.seen) == (1, 1, {"smol": 1}, {"canned_reply": 1})
        await outbox.told(f.link, taken["noticebegan"], began_turn, "m1", 10)
        f.clock.now += 20
        assert await close(f.link, "outage", ("smol",)) is None
        await replay(f.link, "job-00001")
        assert [(await tell(f)).incident.replayed] == [1], "an update"
        assert await outbox.letter(f.link, taken["jobdegraded"].what) is None, "it went on"
        assert await f.settle(worker, await f.claim(worker)) == "settled"
        await ended(f)
        taken = {one.entry.rpartition(":")[2]: one for one in await outbox.take(f.link, 8)}
        assert set(taken) == {"done", "recovered"}
        result = await outbox.letter(f.link, taken["done"].what)
        assert (result.result.status, result.at, result.url) == (
            Status.ANSWERED, f.clock.now - 10, "https://bot.example/h")  # fmt: skip
        over = await outbox.notice_turn(f.link, taken["recovered"], ONE_IN_TEN_MINUTES)
        assert (over.incident.held, over.incident.replayed, over.incident.ended) == (0, 1, f.clock.now)

    fleet(story)
