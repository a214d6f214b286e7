"""When an incident is over, what is then told, and what can be looked at."""

from __future__ import annotations

import pytest

from openfall.router_core.state.incidents import (
    QUIET_SECONDS,
    RETENTION_SECONDS,
    close_incident,
    fetch_incident,
    open_incidents,
)
from tests.incidents import open_incident

MODELS = ("smol", "large")


def open_one(f, reason="outage", **fields):
    """One whose last fall is long enough ago."""
    found = open_incident(f.store, f.clock.now, reason, **{"falls": 3, "version": 4, **fields})
    f.clock.now += QUIET_SECONDS
    return found


def hold_one(f, one, place, reason="outage"):
    f.store.hset(f"of:incident:{one}", "held", 1)
    f.store.hset("of:job:job-00009", "held_for", reason)
    f.store.zadd(place, {"job-00009": 1})


IN_THE_WAY = {
    "a job is held": lambda f, one: hold_one(f, one, "of:held:smol"),
    "a job is held until later": lambda f, one: hold_one(f, one, "of:held-later"),
    "a job waits in degrade": lambda f, one: f.store.rpush("rq:queue:degrade", "job-00001"),
    "a job is looked at": lambda f, one: f.store.zadd("of:leases:degrade", {"job-00001:t": 1}),
    "a released job is on its way": lambda f, one: f.store.zadd("of:released:large", {"job-00001": 1}),
    "a job fell just now": lambda f, one: f.store.hset(f"of:incident:{one}", "last", int((f.clock.now - 9) * 1000)),
}


@pytest.mark.parametrize("thing", IN_THE_WAY)
def test_an_incident_stays_open_while(fleet, thing):
    async def story(f):
        one = open_one(f)
        IN_THE_WAY[thing](f, one)
        before = f.dump()
        assert await close_incident(f.link, "outage", MODELS) is None
        assert f.dump() == before

    fleet(story)


def test_a_closed_incident_is_kept_for_a_week(fleet):
    async def story(f):
        one = open_one(f)
        assert await close_incident(f.link, "outage", MODELS) == one
        assert await open_incidents(f.link) == ()
        found = await fetch_incident(f.link, one)
        assert (found.ended_at, found.version) == (f.clock.now, 5)
        assert 0 < f.store.ttl(f"of:incident:{one}") <= RETENTION_SECONDS
        assert await close_incident(f.link, "outage", MODELS) is None, "once"

    fleet(story)


def test_the_end_of_an_outage_goes_to_each_notifier_of_its_beginning(fleet):
    async def story(f):
        now = int(f.clock.now * 1000)
        one = open_one(f, **{"notified:discord": now})
        await close_incident(f.link, "outage", MODELS)
        assert f.store.zrange("of:outbox", 0, -1) == [f"notice:discord:{one}:recovered".encode()]
        f.store.delete("of:outbox")
        one = open_one(f)
        f.store.zadd("of:outbox", {f"notice:webhook:{one}:began": now})
        await close_incident(f.link, "outage", MODELS)
        assert set(f.store.zrange("of:outbox", 0, -1)) == {
            f"notice:webhook:{one}:{kind}".encode() for kind in ("began", "recovered")
        }

    fleet(story)


def test_other_incidents_are_closed_without_a_notice(fleet):
    async def story(f):
        one = open_one(f, "poisoned", **{"notified:discord": 1})
        assert await close_incident(f.link, "poisoned", MODELS) == one
        assert not f.store.exists("of:outbox")

    fleet(story)


def test_an_incident_lists_the_highest_counts_first(fleet):
    async def story(f):
        one = open_one(f, **{
            "u:batch": 1, "u:interactive": 2, "m:smol": 3, "c:timeout": 2, "c:overloaded": 2, "s:canned_reply": 2,
            "s:nothing": 1, "held": 3, "replayed": 2, "expired": 1, "notified:discord": 5, "message:discord": "m1",
            "notified:webhook": 5, "notified_version:discord": 1,
        })  # fmt: skip
        (found,) = await open_incidents(f.link)
        assert (found.id, found.reason, found.ended_at, found.last_fall_at) == (
            one,
            "outage",
            None,
            f.clock.now - QUIET_SECONDS,
        )
        assert (found.falls, found.held, found.replayed, found.expired) == (3, 3, 2, 1)
        assert list(found.urgencies.items()) == [("interactive", 2), ("batch", 1)]
        assert list(found.causes.items()) == [("overloaded", 2), ("timeout", 2)]
        assert (found.models, found.remedies) == ({"smol": 3}, {"canned_reply": 2, "nothing": 1})
        assert found.messages == {"discord": "m1", "webhook": ""}

    fleet(story)


def test_an_incident_with_a_deleted_record_is_forgotten(fleet):
    async def story(f):
        one = open_one(f)
        f.store.delete(f"of:incident:{one}")
        assert await open_incidents(f.link) == ()
        assert await fetch_incident(f.link, one) is None
        assert await close_incident(f.link, "outage", MODELS) is None
        assert not f.store.exists("of:incidents")

    fleet(story)


def test_jobs_that_only_a_person_releases_keep_no_outage_open(fleet):
    async def story(f):
        one = open_one(f)
        hold_one(f, one, "of:held:gone")  # its model is in the catalog no more
        f.store.hset("of:job:job-00008", "held_for", "budget")
        f.store.zadd("of:held:smol", {"job-00008": 1})  # held for something else
        assert await close_incident(f.link, "outage", MODELS, ("gone",)) == one

    fleet(story)


def test_jobs_held_for_a_person_keep_their_own_incident_open(fleet):
    async def story(f):
        one = open_one(f, "poisoned", held=1)
        assert await close_incident(f.link, "poisoned", MODELS) is None
        f.store.hset(f"of:incident:{one}", "held", 0)
        assert await close_incident(f.link, "poisoned", MODELS) == one

    fleet(story)
