"""The record of a call that names another backend than its lease: it gets no second call."""

from __future__ import annotations

import pytest

from openfall.router_core.state.reap_and_sweep import audit, reap
from openfall.router_core.state.unreadable_values import list_unreadable
from tests.router_core.state import job_states


@pytest.mark.parametrize("backend", ["attic", "gone", "", "\ufffd x"])
def test_the_record_of_a_call_names_the_backend_of_its_lease_again(fleet, backend):
    async def story(f):
        await job_states.started(f)
        ((member, _),) = f.store.zrange("of:leases:box", 0, -1, withscores=True)
        job_id = member.decode().partition(":")[0]
        f.store.hset(f"of:job:{job_id}", "backend", backend)
        f.store.sadd("of:backends", "box", "attic")
        await audit(f.link)
        assert f.store.hmget(f"of:job:{job_id}", "backend", "state") == [b"box", b"started"]
        assert f.store.keys("of:leases:*") == [b"of:leases:box"], "it counts once"
        assert [value.why for value in await list_unreadable(f.link)] == [
            "names another backend than its lease: corrected"
        ]
        assert not await reap(f.link)

    fleet(story)
