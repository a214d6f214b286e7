"""A small outage drill keeps every promise; the plan of one is drawn from its seed; nothing is left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.outage_drilling.plan import ROLES, URGENCIES, WAYS, Plan
from tests.benchmarks.test_torture import processes_that_name

ROOT = Path(__file__).resolve().parents[2]
DRILL = [sys.executable, "-m", "benchmarks.outage_drill", "--quick", "--json"]


def environ(directory: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(directory)}


@pytest.fixture
def short_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A unix socket's path must be short."""
    place = tmp_path_factory.mktemp("o")
    assert len(str(place)) < 70
    return place


def test_the_same_seed_brings_the_same_jobs_and_faults():
    plan = Plan(5000, 7)
    assert (plan.wanted(), plan.faults()) == (Plan(5000, 7).wanted(), Plan(5000, 7).faults())
    assert plan.wanted() != Plan(5000, 8).wanted()
    assert plan.faults() != Plan(5000, 8).faults()


@pytest.mark.parametrize("quick", [False, True], ids=["whole", "quick"])
def test_everything_that_is_killed_comes_back_before_the_backends_do(quick):
    for seed in range(50):
        plan = Plan(300, seed, quick)
        moments = {kind: at for at, kind in plan.faults()}
        began, ended = plan.away
        assert moments.pop("notifier-away") < began == moments.pop("backends-away")
        assert moments.pop("backends-back") == ended < plan.seconds
        assert sorted(moments) == ["degrade", "notifier-back", "valkey", "worker"]
        assert all(began < at < ended for at in moments.values())


def test_a_run_has_jobs_of_every_role_urgency_and_way_to_learn_of_the_end():
    wanted = Plan(300, 1, quick=True).wanted()
    seen = Counter((job.urgency, job.way) for job in wanted)
    assert set(seen) == {(urgency, way) for urgency in URGENCIES for way in WAYS}
    assert {job.role for job in wanted} == set(ROLES)
    assert len({job.id for job in wanted}) == 300


@pytest.mark.slow
def test_no_job_is_lost_or_told_two_ends_while_every_backend_is_gone(short_directory):
    argv = [*DRILL, "--seed", "1"]
    done = subprocess.run(argv, cwd=ROOT, env=environ(short_directory), capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    broken = [promise for promise in told["promises"] if not promise["kept"]]
    assert (broken, told["complaints"], done.returncode) == ([], [], 0)
    assert sum(sum(row.values()) for row in told["account"].values()) == 300
    assert told["figures"]["killed"] == {"worker": 1, "degrade": 1, "outage": 1, "notifier": 1, "backends": 1}
    assert list(short_directory.iterdir()) == []
    assert processes_that_name(short_directory) == []


@pytest.mark.slow
def test_a_drill_that_is_stopped_leaves_nothing_running(short_directory):
    with subprocess.Popen(DRILL, cwd=ROOT, env=environ(short_directory), stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        assert "jobs over" in run.stderr.readline()
        run.send_signal(signal.SIGTERM)
        said = run.stderr.read()
        assert run.wait(30) == 1
    assert f"Everything that was written down is in {short_directory}" in said
    deadline = time.monotonic() + 10
    while (left := processes_that_name(short_directory)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []
