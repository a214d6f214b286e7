"""A small torture run keeps every promise; the plan of one is drawn from its seed; nothing is left running."""

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

from benchmarks.torturing.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
TORTURE = [sys.executable, "-m", "benchmarks.torture", "--quick", "--json"]


def environ(directory: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(directory)}


def processes_that_name(directory: Path) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told = place.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in told:
            found.append(told)
    return found


@pytest.fixture
def short_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A unix socket's path must be short."""
    place = tmp_path_factory.mktemp("t")
    assert len(str(place)) < 70
    return place


def test_the_same_seed_brings_the_same_faults() -> None:
    plan = Plan(jobs=20_000, workers=4, latency_ms=300, seed=7)
    assert plan.faults() == plan.faults()
    assert plan.faults() != Plan(jobs=20_000, workers=4, latency_ms=300, seed=8).faults()


def test_a_full_run_has_every_fault_and_a_small_one_some_of_each() -> None:
    def counted(jobs: int) -> Counter[str]:
        return Counter(kind for _, kind in Plan(jobs=jobs, workers=4, latency_ms=300, seed=1).faults())

    once = {"valkey-killed": 1, "valkey-frozen": 1, "deploy": 1}
    assert counted(20_000) == {"kill": 20, "aimed": 10, "frozen": 3, **once}
    assert counted(1_500) == {"kill": 3, "aimed": 2, "frozen": 1, **once}


@pytest.mark.slow
def test_no_job_is_lost_or_answered_twice_whatever_is_killed_or_frozen(short_directory: Path) -> None:
    argv = [*TORTURE, "--seed", "1"]
    done = subprocess.run(argv, cwd=ROOT, env=environ(short_directory), capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    broken = [promise for promise in told["promises"] if not promise["kept"]]
    assert (broken, told["complaints"], done.returncode) == ([], [], 0)
    assert told["figures"]["faults"] == {"aimed": 2, "deploy": 1, "frozen": 1, "kill": 3, "outage": 2}
    assert list(short_directory.iterdir()) == []
    assert processes_that_name(short_directory) == []


@pytest.mark.slow
def test_a_run_that_is_stopped_leaves_nothing_running(short_directory: Path) -> None:
    with subprocess.Popen(TORTURE, cwd=ROOT, env=environ(short_directory), stderr=subprocess.PIPE, text=True) as run:
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
