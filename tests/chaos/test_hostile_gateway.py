"""The gateway under hostile clients: a small form of the scenario, and its judge."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.chaos_support import ROOT, find_processes, run_environ
from tests.chaos.hostile_gateway import is_kept

KEPT = {"alive": True, "memory_mb": 80, "answered": 20, "requests": 20, "slowest_seconds": 0.2, "calm_seconds": 0.1}


def test_a_gateway_that_does_all_this_keeps_its_promise() -> None:
    assert is_kept(KEPT)


@pytest.mark.parametrize("broken", [{"alive": False}, {"memory_mb": 500}, {"answered": 19}, {"slowest_seconds": 9.0}])
def test_a_gateway_that_fails_one_thing_breaks_it(broken: dict[str, Any]) -> None:
    assert not is_kept(KEPT | broken)


def test_on_a_busy_machine_the_time_of_a_gateway_without_an_attack_counts() -> None:
    assert is_kept(KEPT | {"slowest_seconds": 9.0, "calm_seconds": 4.0})
    assert not is_kept(KEPT | {"slowest_seconds": 9.0, "calm_seconds": 2.0})


@pytest.mark.slow
def test_requests_beside_readers_that_stop_are_answered_in_bounded_memory(short_directory: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "tests.chaos",
        "hostilegateway",
        "--json",
        "--seconds",
        "1",
        "--kinds",
        "slow_readers",
    ]
    run = subprocess.run(argv, cwd=ROOT, env=run_environ(short_directory), capture_output=True, text=True, check=False)
    assert run.stdout, run.stderr
    (row,) = json.loads(run.stdout)["rows"]
    assert (row["alive"], row["answered"]) == (True, 10)
    assert row["memory_mb"] < 150
    assert find_processes(short_directory) == []
