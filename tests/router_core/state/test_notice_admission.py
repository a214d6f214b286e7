"""How often notifiers are sent new incidents, and in which order."""

from __future__ import annotations

import pytest

from openfall.router_core.state import outbox
from openfall.router_core.state.outbox import LEASE_SECONDS, NoticeEntry, NoticeKind, NoticeRate
from tests.router_core.state.outbox_steps import ONE_IN_TEN_MINUTES, began, ended, put, tell, turn, turns, waits


def test_a_new_incident_is_sent_and_the_next_one_waits_for_its_turn(fleet):
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


def test_an_incident_that_ends_before_its_turn_is_dropped_and_counted_for_the_next(fleet):
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
        assert not f.store.keys("of:outbox-entry:*")
        began(f)
        assert (await tell(f)).unmentioned == 2
        f.clock.now += 600
        began(f, "budget")
        assert (await tell(f)).unmentioned == 0, "the notice has mentioned them"

    fleet(story)


@pytest.mark.parametrize("outcome", ["retried", "deferred"])
def test_the_turn_of_a_notice_that_was_not_sent_is_given_back(fleet, outcome):
    async def story(f):
        began(f)
        taken, its_turn = await turn(f)
        assert its_turn is not None
        if outcome == "retried":
            await outbox.retry_entry(f.link, taken, 5, "HTTP 503")
        else:
            await outbox.defer_entry(f.link, taken, 5)
        second = began(f, "poisoned")
        taken, its_turn = await turn(f)
        assert its_turn is not None, "no notice of the first was sent"
        assert taken.subject == NoticeEntry("discord", second, NoticeKind.BEGAN)

    fleet(story)


def test_a_dispatcher_that_died_with_a_turn_does_not_delay_its_own_notice(fleet):
    async def story(f):
        began(f)
        assert (await turn(f))[1] is not None
        f.clock.now += LEASE_SECONDS
        assert (await tell(f)).incident.version == 1
        f.clock.now += 60
        began(f, "poisoned")
        assert (await turn(f))[1] is None, "and its turn counts once, from when it was sent"
        assert list(waits(f).values()) == [540]

    fleet(story)


def test_the_beginning_of_a_closed_incident_is_sent_first_when_its_notifier_was_down(fleet):
    async def story(f):
        incident = began(f)
        taken, _ = await turn(f)
        await outbox.retry_entry(f.link, taken, 300, "HTTP 503")
        await ended(f)
        taken, its_turn = await turn(f)
        assert (taken.subject.kind, its_turn) == (NoticeKind.RECOVERED, None)
        assert waits(f) == {f"notice:discord:{incident}:recovered": 10, f"notice:discord:{incident}:began": 290}
        f.store.zadd("of:outbox", {f"notice:discord:{incident}:began": 0})
        began_turn = await tell(f)
        assert began_turn.incident.ended_at is not None
        recovered = await tell(f)
        assert recovered.incident.id == incident, "at once after it"
        assert waits(f) == {}

    fleet(story)


def test_an_update_is_sent_after_a_change_and_at_most_once_an_interval(fleet):
    async def story(f):
        incident = began(f)
        update = f"notice:discord:{incident}:update"
        put(f, update)
        takes = {taken.subject.kind: taken for taken in await outbox.claim_entries(f.link, 8)}
        assert await outbox.admit_notice(f.link, takes["update"], ONE_IN_TEN_MINUTES) is None
        assert update not in waits(f), "the beginning is still to be sent, and will show it"
        its_turn = await outbox.admit_notice(f.link, takes["began"], ONE_IN_TEN_MINUTES)
        f.store.hincrby(f"of:incident:{incident}", "version", 1)
        await outbox.record_notified(f.link, takes["began"], its_turn, "m1", 10)
        assert waits(f) == {update: 10}, "another fall while it was posted"
        f.clock.now += 10
        admission = await tell(f)
        assert (admission.incident.version, admission.incident.messages) == (2, {"discord": "m1"})
        put(f, update)
        assert (await turn(f))[1] is None
        assert waits(f) == {}, "nothing new"
        f.clock.now += 4
        f.store.hincrby(f"of:incident:{incident}", "version", 1)
        put(f, update)
        assert (await turn(f))[1] is None
        assert waits(f) == {update: 6}
        await ended(f)
        taken = {claimed.subject.kind: claimed for claimed in await outbox.claim_entries(f.link, 8)}
        assert await outbox.admit_notice(f.link, taken["update"], ONE_IN_TEN_MINUTES) is None
        assert update not in waits(f), "its end says more"

    fleet(story)


def test_a_recovery_is_sent_only_where_configured_and_after_the_beginning(fleet):
    async def story(f):
        began(f)
        await tell(f)
        await ended(f)
        quiet = NoticeRate(max_notices=1, interval_seconds=600, update_interval_seconds=10, notify_recovery=False)
        assert (await turn(f, quiet))[1] is None
        assert waits(f) == {}
        f.clock.now += 600
        incident = began(f)
        f.store.delete("of:outbox")  # the notifier was removed from the configuration, and added again
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
        taken = await outbox.claim_entries(f.link, 8)
        turns = [await outbox.admit_notice(f.link, claimed, ONE_IN_TEN_MINUTES) for claimed in taken]
        assert None not in turns
        for claimed, its_turn in zip(taken, turns, strict=True):
            await outbox.record_notified(f.link, claimed, its_turn, "m1" if "discord" in claimed.entry else "", 10)
        stored = f.store.hgetall(f"of:incident:{incident}")
        assert (b"notified:webhook" in stored, b"message:webhook" in stored, stored[b"message:discord"]) == (
            True,
            False,
            b"m1",
        )

    fleet(story)


def test_several_incidents_are_sent_at_once_where_the_rate_allows(fleet):
    async def story(f):
        turns = NoticeRate(max_notices=2, interval_seconds=600, update_interval_seconds=10, notify_recovery=True)
        for reason in ("outage", "budget"):
            began(f, reason)
            await tell(f, turns=turns)
            f.clock.now += 100
        began(f, "poisoned")
        assert (await turn(f, turns))[1] is None
        assert list(waits(f).values()) == [400], "when the first of the two is long enough ago"

    fleet(story)


def test_the_notice_of_an_expired_incident_is_dropped(fleet):
    async def story(f):
        incident = began(f)
        f.store.delete(f"of:incident:{incident}")
        assert (await turn(f))[1] is None
        assert waits(f) == {}

    fleet(story)
