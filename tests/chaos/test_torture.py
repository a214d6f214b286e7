"""A small torture run keeps every promise; a seed repeats its plan."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.chaos_support import run_to_verdict
from tests.chaos.torture_plan import Plan

TORTURE = ["torture", "--quick", "--json"]


def test_a_seed_repeats_the_faults() -> None:
    plan = Plan(jobs=20_000, workers=4, latency_ms=300, seed=7)
    assert plan.faults() == plan.faults()
    assert plan.faults() != Plan(jobs=20_000, workers=4, latency_ms=300, seed=8).faults()


def test_a_full_run_has_every_fault_and_a_small_run_some_of_each() -> None:
    def counted(jobs: int) -> Counter[str]:
        return Counter(kind for _, kind in Plan(jobs=jobs, workers=4, latency_ms=300, seed=1).faults())

    once = {"valkey-killed": 1, "valkey-frozen": 1, "deploy": 1}
    assert counted(20_000) == {"kill": 20, "aimed": 10, "frozen": 3, **once}
    assert counted(1_500) == {"kill": 3, "aimed": 2, "frozen": 1, **once}


@pytest.mark.slow
def test_no_job_is_lost_or_answered_twice_while_workers_and_valkey_are_killed_and_frozen(short_directory: Path) -> None:
    verdict = run_to_verdict([*TORTURE, "--seed", "1"], short_directory)
    assert verdict["figures"]["faults"] == {"aimed": 2, "deploy": 1, "frozen": 1, "kill": 3, "outage": 2}
