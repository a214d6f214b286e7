"""The audit says which index lacked jobs. It says nothing of a fleet whose keys no other program has written."""

from __future__ import annotations

import pytest

from openfall.router_core.state.reap_and_sweep import audit, sweep
from openfall.router_core.state.unreadable_values import list_unreadable
from tests.router_core.state import job_states
from tests.router_core.state.damaged_fleet import build, work
from tests.router_core.state.job_states import QUEUE


async def whole_audit(f):
    """Audits until every record has been examined; the notes."""
    notes = []
    for _ in range(3):
        f.store.delete("of:lock:audit")
        notes += [(value.place, value.why) for value in await audit(f.link)]
    return notes


@pytest.mark.parametrize(("reach", "_status", "_registry", "_queue"), job_states.STATES)
@pytest.mark.parametrize("seconds", [0, 700])
def test_a_job_in_any_state_is_in_every_index_also_after_its_deadline(
    fleet, reach, _status, _registry, _queue, seconds
):
    async def story(f):
        await reach(f)
        f.clock.now += seconds
        await sweep(f.link, clean=True)
        assert await whole_audit(f) == []

    fleet(story)


def test_a_fleet_that_works_has_no_note(fleet):
    async def story(f):
        members = await build(f)
        assert await whole_audit(f) == []
        await work(f, *members)
        assert await whole_audit(f) == []

    fleet(story)


@pytest.mark.parametrize("damage", ["deleted", "garbage"])
@pytest.mark.parametrize(
    ("reach", "index", "restored"),
    [
        (job_states.queued, "of:unfinished", "of:unfinished"),
        (job_states.queued, "of:jobs", "of:jobs"),
        (job_states.started, "of:leases:box", "of:leases:box"),
        (job_states.started, f"rq:wip:{QUEUE}", f"rq:wip:{QUEUE}"),
        (job_states.scheduled, "of:scheduled:gpu", "of:scheduled:gpu"),
        (job_states.scheduled, f"rq:scheduled:{QUEUE}", f"rq:scheduled:{QUEUE}"),
        (job_states.held, "rq:deferred:degrade", "rq:deferred:degrade"),
        (job_states.held, "of:held:smol", "of:held-later"),
        (job_states.failed, "of:jobs:failed", "of:jobs:failed"),
        (job_states.cancelled, "of:jobs:cancelled", "of:jobs:cancelled"),
    ],
)
def test_an_index_that_lacked_a_job_is_named(fleet, reach, index, restored, damage):
    async def story(f):
        await reach(f)
        ((_, score),) = f.store.zrange(index, 0, -1, withscores=True)
        f.store.delete(index)
        if damage == "garbage":
            f.store.zadd(index, {"\ufffd x": score})
        notes = await whole_audit(f)
        assert (restored, "lacked 1 of its jobs: they are in it again") in notes
        assert len(await list_unreadable(f.link)) == len(notes)

    fleet(story)


@pytest.mark.parametrize(
    ("reach", "registry"),
    [
        (job_states.started, f"rq:wip:{QUEUE}"),
        (job_states.scheduled, f"rq:scheduled:{QUEUE}"),
        (job_states.held, "rq:deferred:degrade"),
    ],
)
def test_a_name_of_no_job_leaves_a_registry_and_is_noted_once(fleet, reach, registry):
    async def story(f):
        await reach(f)
        ((member, score),) = f.store.zrange(registry, 0, -1, withscores=True)
        for stray in ("no name", "nothing:1", ":"):
            f.store.zadd(registry, {stray: score})
        notes = await whole_audit(f)
        assert sorted(notes) == sorted((registry, f"names no job: {stray}") for stray in ("no name", "nothing:1", ":"))
        assert f.store.zrange(registry, 0, -1) == [member]

    fleet(story)


def test_a_job_that_another_program_gave_to_rq_stays_in_its_registries(fleet):
    async def story(f):
        await build(f)
        f.store.sadd("rq:queues", "rq:queue:mail")
        f.store.hset("rq:job:letter", "origin", "mail")
        f.store.zadd("rq:wip:mail", {"letter:execution": 100})
        f.store.zadd("rq:scheduled:mail", {"letter": 100})
        assert await whole_audit(f) == []
        assert [f.store.zcard(f"rq:{name}:mail") for name in ("wip", "scheduled")] == [1, 1]

    fleet(story)
