"""A small torture run keeps every promise; a seed repeats its plan; no process is left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.chaos_support import ROOT, check_that_sigterm_leaves_nothing, find_processes, run_environ
from tests.chaos.torture_plan import Plan

TORTURE = [sys.executable, "-m", "tests.chaos", "torture", "--quick", "--json"]


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
    argv = [*TORTURE, "--seed", "1"]
    done = subprocess.run(argv, cwd=ROOT, env=run_environ(short_directory), capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    verdict = json.loads(done.stdout)
    broken = [promise for promise in verdict["promises"] if not promise["kept"]]
    assert (broken, verdict["problems"], done.returncode) == ([], [], 0)
    assert verdict["figures"]["faults"] == {"aimed": 2, "deploy": 1, "frozen": 1, "kill": 3, "outage": 2}
    assert list(short_directory.iterdir()) == []
    assert find_processes(short_directory) == []


@pytest.mark.slow
def test_a_stopped_run_leaves_no_process(short_directory: Path) -> None:
    check_that_sigterm_leaves_nothing(TORTURE, short_directory)
