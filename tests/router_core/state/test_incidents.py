"""When an incident is over, which notices its end sends, and what can be read of it."""

from __future__ import annotations

import pytest

from openfall.router_core.degrading.incident_end import QUIET_SECONDS
from openfall.router_core.state.incidents import RETENTION_SECONDS, close_incident, fetch_incident, open_incidents
from tests.incidents import open_incident

MODELS = ("smol", "large")


def open_one(f, reason="outage", **fields):
    """One whose last fall is long enough ago."""
    incident_id = open_incident(f.store, f.clock.now, reason, **{"falls": 3, "version": 4, **fields})
    f.clock.now += QUIET_SECONDS
    return incident_id


def hold_one(f, incident_id, place, reason="outage"):
    f.store.hset(f"of:incident:{incident_id}", "held", 1)
    f.store.hset("of:job:job-00009", "held_for", reason)
    f.store.zadd(place, {"job-00009": 1})


def release_one(f, _incident_id):
    f.store.hset("of:job:job-00001", mapping={"state": "queued", "released": "large"})
    f.store.zadd("of:released:large", {"job-00001": 1})


IN_THE_WAY = {
    "a job is held": lambda f, incident_id: hold_one(f, incident_id, "of:held:smol"),
    "a job is held until later": lambda f, incident_id: hold_one(f, incident_id, "of:held-later"),
    "a job waits in degrade": lambda f, incident_id: f.store.rpush("rq:queue:degrade", "job-00001"),
    "a job is claimed in degrade": lambda f, incident_id: f.store.zadd("of:leases:degrade", {"job-00001:t": 1}),
    "a released job is on its way": release_one,
    "a job fell just now": lambda f, incident_id: f.store.hset(
        f"of:incident:{incident_id}", "last", int((f.clock.now - 9) * 1000)
    ),
}


@pytest.mark.parametrize("obstacle", IN_THE_WAY)
def test_an_incident_stays_open_while(fleet, obstacle):
    async def story(f):
        incident_id = open_one(f)
        IN_THE_WAY[obstacle](f, incident_id)
        before = f.dump()
        assert await close_incident(f.link, "outage", MODELS) is None
        assert f.dump() == before

    fleet(story)


@pytest.mark.parametrize(("field", "value"), [("reason", b"\xff"), ("last", b"253402300798000"), ("last", b"\xff")])
def test_an_incident_with_a_field_that_another_program_wrote_ends(fleet, field, value):
    async def story(f):
        incident_id = open_one(f)
        f.store.hset(f"of:incident:{incident_id}", field, value)
        (incident,) = await open_incidents(f.link)
        await close_incident(f.link, incident.reason, MODELS)
        f.clock.now += QUIET_SECONDS
        await close_incident(f.link, incident.reason, MODELS)
        assert await open_incidents(f.link) == ()

    fleet(story)


@pytest.mark.parametrize("obstacle", ["a job is held", "a job is held until later", "a released job is on its way"])
def test_an_outage_is_over_with_the_first_answer_after_the_last_fall_whatever_is_still_held(fleet, obstacle):
    async def story(f):
        incident_id = open_one(f, **{"notified:discord": 1})
        IN_THE_WAY[obstacle](f, incident_id)
        f.store.hset(f"of:incident:{incident_id}", "answered_at", int((f.clock.now - QUIET_SECONDS) * 1000))
        assert await close_incident(f.link, "outage", MODELS) is None, "it was answered before it fell"
        f.store.hset(f"of:incident:{incident_id}", "answered_at", int((f.clock.now - 1) * 1000))
        assert await close_incident(f.link, "outage", MODELS) == incident_id
        assert f.store.zrange("of:outbox", 0, -1) == [f"notice:discord:{incident_id}:recovered".encode()]

    fleet(story)


@pytest.mark.parametrize("obstacle", ["a job waits in degrade", "a job fell just now"])
def test_no_answer_ends_an_outage_while_jobs_fall(fleet, obstacle):
    async def story(f):
        incident_id = open_one(f)
        IN_THE_WAY[obstacle](f, incident_id)
        f.store.hset(f"of:incident:{incident_id}", "answered_at", int(f.clock.now * 1000))
        assert await close_incident(f.link, "outage", MODELS) is None

    fleet(story)


def test_an_answer_ends_no_incident_for_another_reason_than_an_outage(fleet):
    async def story(f):
        incident_id = open_one(f, "budget")
        hold_one(f, incident_id, "of:held:smol", "budget")
        f.store.hset(f"of:incident:{incident_id}", "answered_at", int(f.clock.now * 1000))
        assert await close_incident(f.link, "budget", MODELS) is None

    fleet(story)


def test_a_closed_incident_is_kept_for_a_week(fleet):
    async def story(f):
        incident_id = open_one(f)
        assert await close_incident(f.link, "outage", MODELS) == incident_id
        assert await open_incidents(f.link) == ()
        incident = await fetch_incident(f.link, incident_id)
        assert (incident.ended_at, incident.version) == (f.clock.now, 5)
        assert 0 < f.store.ttl(f"of:incident:{incident_id}") <= RETENTION_SECONDS
        assert await close_incident(f.link, "outage", MODELS) is None, "once"

    fleet(story)


def test_the_end_of_an_outage_goes_to_each_notifier_of_its_beginning(fleet):
    async def story(f):
        now = int(f.clock.now * 1000)
        incident_id = open_one(f, **{"notified:discord": now})
        await close_incident(f.link, "outage", MODELS)
        assert f.store.zrange("of:outbox", 0, -1) == [f"notice:discord:{incident_id}:recovered".encode()]
        f.store.delete("of:outbox")
        incident_id = open_one(f)
        f.store.zadd("of:outbox", {f"notice:webhook:{incident_id}:began": now})
        await close_incident(f.link, "outage", MODELS)
        assert set(f.store.zrange("of:outbox", 0, -1)) == {
            f"notice:webhook:{incident_id}:{kind}".encode() for kind in ("began", "recovered")
        }

    fleet(story)


def test_other_incidents_are_closed_without_a_notice(fleet):
    async def story(f):
        incident_id = open_one(f, "poisoned", **{"notified:discord": 1})
        assert await close_incident(f.link, "poisoned", MODELS) == incident_id
        assert not f.store.exists("of:outbox")

    fleet(story)


def test_an_incident_lists_the_highest_counts_first(fleet):
    async def story(f):
        incident_id = open_one(f, **{
            "u:batch": 1, "u:interactive": 2, "m:smol": 3, "c:timeout": 2, "c:overloaded": 2, "s:canned_reply": 2,
            "s:nothing": 1, "held": 3, "replayed": 2, "expired": 1, "notified:discord": 5, "message:discord": "m1",
            "notified:webhook": 5, "notified_version:discord": 1,
        })  # fmt: skip
        (incident,) = await open_incidents(f.link)
        assert (incident.id, incident.reason, incident.ended_at, incident.last_fall_at) == (
            incident_id,
            "outage",
            None,
            f.clock.now - QUIET_SECONDS,
        )
        assert (incident.falls, incident.held, incident.replayed, incident.expired) == (3, 3, 2, 1)
        assert list(incident.urgencies.items()) == [("interactive", 2), ("batch", 1)]
        assert list(incident.causes.items()) == [("overloaded", 2), ("timeout", 2)]
        assert (incident.models, incident.remedies) == ({"smol": 3}, {"canned_reply": 2, "nothing": 1})
        assert incident.messages == {"discord": "m1", "webhook": ""}

    fleet(story)


def test_an_incident_with_a_deleted_record_is_forgotten(fleet):
    async def story(f):
        incident_id = open_one(f)
        f.store.delete(f"of:incident:{incident_id}")
        assert await open_incidents(f.link) == ()
        assert await fetch_incident(f.link, incident_id) is None
        assert await close_incident(f.link, "outage", MODELS) is None
        assert not f.store.exists("of:incidents")

    fleet(story)


def test_jobs_that_only_a_person_releases_keep_no_outage_open(fleet):
    async def story(f):
        incident_id = open_one(f)
        hold_one(f, incident_id, "of:held:gone")  # its model is in the catalog no more
        f.store.hset("of:job:job-00008", "held_for", "budget")
        f.store.zadd("of:held:smol", {"job-00008": 1})  # held for something else
        assert await close_incident(f.link, "outage", MODELS, ("gone",)) == incident_id

    fleet(story)


def test_jobs_held_for_a_person_keep_their_own_incident_open(fleet):
    async def story(f):
        incident_id = open_one(f, "poisoned", held=1)
        assert await close_incident(f.link, "poisoned", MODELS) is None
        f.store.hset(f"of:incident:{incident_id}", "held", 0)
        assert await close_incident(f.link, "poisoned", MODELS) == incident_id

    fleet(story)
