"""A job is condemned only on evidence that it kills its workers."""

from __future__ import annotations

import random

import pytest

from tests.router_core.crash_rule import CrashVerdict, judge_crash


def _deliveries(kills, limit=100):
    """Deliver a job until it is answered or condemned; `kills(is_alone)`: its worker dies. Returns (verdict, kills)."""
    crashes = crashes_alone = 0
    verdict = CrashVerdict.QUEUED
    for _ in range(limit):
        is_alone = verdict is CrashVerdict.SUSPECT
        if not kills(is_alone):
            return verdict, crashes
        crashes, crashes_alone = crashes + 1, crashes_alone + is_alone
        verdict = judge_crash(crashes, crashes_alone)
        if verdict is CrashVerdict.FALLEN:
            break
    return verdict, crashes


@pytest.mark.parametrize(("chance", "jobs"), [(0.05, 100_000), (0.02, 50_000)])
def test_workers_that_die_by_chance_condemn_no_healthy_job(chance, jobs):
    rng = random.Random(1)
    verdicts = [_deliveries(lambda is_alone: rng.random() < chance)[0] for _ in range(jobs)]
    assert CrashVerdict.FALLEN not in verdicts
    assert CrashVerdict.SUSPECT in verdicts


def _chance_of_condemnation(death: float, crashes: int = 0, crashes_alone: int = 0) -> float:
    """The exact chance that a job is condemned whose worker dies with the chance `death` in each delivery."""
    verdict = judge_crash(crashes, crashes_alone)
    if verdict is CrashVerdict.FALLEN:
        return 1.0
    return death * _chance_of_condemnation(death, crashes + 1, crashes_alone + (verdict is CrashVerdict.SUSPECT))


@pytest.mark.parametrize(
    ("death", "one_of"), [(1 / 50, 312_500_000), (1 / 20, 3_200_000), (1 / 10, 100_000), (1 / 4, 1024)]
)
def test_of_healthy_jobs_no_more_are_condemned_than_documented(death, one_of):
    assert _chance_of_condemnation(death) == pytest.approx(1 / one_of)


def test_a_job_that_kills_every_worker_is_condemned_after_five_and_the_last_three_had_no_other_job():
    company = []

    def kills(is_alone):
        company.append(is_alone)
        return True

    assert _deliveries(kills) == (CrashVerdict.FALLEN, 5)
    assert company == [False, False, True, True, True]


@pytest.mark.parametrize("crashes", [2, 9, 50])
def test_crashes_beside_other_jobs_never_condemn(crashes):
    assert judge_crash(crashes, 2) is CrashVerdict.SUSPECT
    assert judge_crash(1, 0) is CrashVerdict.QUEUED
