"""A held job is released to a model that is kept for late jobs once it is late, and leaves nothing of that behind."""

from __future__ import annotations

import pytest

from openfall.router_core.state.budget_book import examine_held_for_budgets
from openfall.router_core.state.held_jobs import drop_held, fetch_held, replay_held
from tests.router_core.state.test_audit_of_indexes import whole_audit
from tests.router_core.state.test_held_release import held, let_go

JOB = "job-00001"


@pytest.mark.parametrize("ready_in", [0.0, 5.0])
def test_a_model_that_is_kept_for_late_jobs_releases_a_job_once_it_is_late(fleet, ready_in):
    async def story(f):
        late_at = f.clock.now + 60
        await held(f, JOB, ready_in=ready_in, late_models=("large",), late_at=late_at)
        f.clock.now += 30
        assert await let_go(f, "large") == [], "its own model may be back before it is late"
        (job,) = await fetch_held(f.link, [JOB])
        assert (job.release_models, job.late_models) == (("smol",), ("large",))
        f.clock.now = late_at
        assert await let_go(f, "large") == [JOB]
        assert f.record_field(JOB, "late_by") is None

    fleet(story)


def test_a_job_whose_own_model_is_back_before_it_is_late_returns_to_it(fleet):
    async def story(f):
        await held(f, JOB, late_models=("large",), late_at=f.clock.now + 60)
        assert await let_go(f, "smol") == [JOB]
        assert f.store.zcard("of:held-later") == 0
        assert f.record_field(JOB, "late_at") is None

    fleet(story)


def test_a_job_that_only_late_models_release_waits_until_it_is_late(fleet):
    async def story(f):
        late_at = f.clock.now + 60
        await held(f, JOB, models=(), late_models=("large", "huge"), late_at=late_at)
        assert await let_go(f, "large") == []
        f.clock.now = late_at
        assert await let_go(f, "gone") == [], "it is in the order of both models now"
        assert f.record_field(JOB, "held_by") == "large,huge"
        assert await let_go(f, "huge") == [JOB]
        assert await let_go(f, "large") == []

    fleet(story)


def test_a_job_waits_until_it_is_late_although_its_own_model_was_removed_meanwhile(fleet):
    async def story(f):
        await held(f, JOB, models=("removed",), late_models=("large",), late_at=f.clock.now + 60)
        f.clock.now += 59
        assert await let_go(f, "large") == []
        f.clock.now += 1
        assert await let_go(f, "large") == [JOB]
        assert not f.store.exists("of:held:removed")

    fleet(story)


@pytest.mark.parametrize("is_raised", [False, True])
def test_a_late_job_whose_budget_is_spent_waits_until_that_resets_or_is_raised(fleet, is_raised):
    async def story(f):
        await held(f, JOB, ready_in=90, late_models=("large",), late_at=f.clock.now + 60)
        f.store.hset(f"of:job:{JOB}", "held_for", "budget")
        f.clock.now += 70
        assert await let_go(f, "large") == []
        if is_raised:
            await examine_held_for_budgets(f.link)
        else:
            f.clock.now += 20
        assert await let_go(f, "large") == [JOB]

    fleet(story)


@pytest.mark.parametrize("end", ["replay", "drop"])
def test_an_operator_who_ends_a_hold_ends_what_waits_for_a_late_job(fleet, end):
    async def story(f):
        await held(f, JOB, late_models=("large",), late_at=f.clock.now + 60)
        (job,) = await fetch_held(f.link, [JOB])
        assert await (replay_held(f.link, JOB) if end == "replay" else drop_held(f.link, job))
        assert f.store.zcard("of:held-later") == 0
        assert (f.record_field(JOB, "late_by"), f.record_field(JOB, "late_at")) == (None, None)
        f.clock.now += 60
        assert await let_go(f, "large") == []

    fleet(story)


@pytest.mark.parametrize(
    ("models", "ready_in"), [((), 0.0), ((), 90.0), (("smol",), 0.0), (("smol",), 5.0), (("smol",), 90.0)]
)
def test_the_audit_lets_a_job_wait_for_its_late_models_again(fleet, models, ready_in):
    async def story(f):
        late_at = f.clock.now + 60
        await held(f, JOB, models=models, ready_in=ready_in, late_models=("large",), late_at=late_at)
        due = max(late_at, f.clock.now + ready_in)
        assert await whole_audit(f) == []
        f.store.delete("of:held-later")
        assert len(await whole_audit(f)) == 1
        f.clock.now = due - 1
        assert await let_go(f, "large") == []
        f.clock.now = due
        assert await let_go(f, "large") == [JOB]
        assert await whole_audit(f) == []

    fleet(story)


def test_a_late_moment_whose_models_are_lost_is_restored_by_no_audit(fleet):
    async def story(f):
        await held(f, JOB, late_models=("large",), late_at=f.clock.now + 60)
        f.store.hdel(f"of:job:{JOB}", "late_by")
        f.clock.now += 60
        assert await let_go(f, "large") == []
        assert f.store.zcard("of:held-later") == 0
        assert await whole_audit(f) == []

    fleet(story)
