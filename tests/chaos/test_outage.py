"""A small outage run keeps every promise; a seed repeats its plan; no process is left."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chaos.chaos_support import check_that_sigterm_leaves_nothing, run_to_verdict
from tests.chaos.outage_plan import CALLBACKS, ROLES, URGENCIES, Plan

OUTAGE = ["outage", "--quick", "--json"]


def test_a_seed_repeats_the_jobs_and_the_faults():
    plan = Plan(5000, 7)
    assert (plan.job_plans(), plan.faults()) == (Plan(5000, 7).job_plans(), Plan(5000, 7).faults())
    assert plan.job_plans() != Plan(5000, 8).job_plans()
    assert plan.faults() != Plan(5000, 8).faults()


@pytest.mark.parametrize("quick", [False, True], ids=["whole", "quick"])
def test_every_killed_part_is_back_before_the_backends(quick):
    for seed in range(50):
        plan = Plan(300, seed, quick)
        moments = {kind: at for at, kind in plan.faults()}
        began, ended = plan.away
        assert moments.pop("notifier-away") < began == moments.pop("backends-away")
        assert moments.pop("backends-back") == ended < plan.seconds
        assert sorted(moments) == ["degrade", "notifier-back", "valkey", "worker"]
        assert all(began < at < ended for at in moments.values())


def test_a_run_has_jobs_of_every_role_urgency_and_callback():
    jobs = Plan(300, 1, quick=True).job_plans()
    counts = Counter((job.urgency, job.callback) for job in jobs)
    assert set(counts) == {(urgency, callback) for urgency in URGENCIES for callback in CALLBACKS}
    assert {job.role for job in jobs} == set(ROLES)
    assert len({job.id for job in jobs}) == 300


@pytest.mark.slow
def test_no_job_is_lost_or_ended_twice_while_every_backend_is_away(short_directory):
    verdict = run_to_verdict([*OUTAGE, "--seed", "1"], short_directory)
    assert sum(sum(row.values()) for row in verdict["account"].values()) == 300
    assert verdict["figures"]["killed"] == {"worker": 1, "degrade": 1, "outage": 1, "notifier": 1, "backends": 1}


@pytest.mark.slow
def test_a_stopped_run_leaves_no_process(short_directory):
    check_that_sigterm_leaves_nothing(OUTAGE, short_directory)
