"""A worker under a hostile upstream: a small form of the scenario, and its judge."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.chaos_support import ROOT, find_processes, run_environ
from tests.chaos.hostile import is_kept

KEPT = {
    "alive": True, "memory_mb": 120, "blocked_seconds": 0.0, "answered": 20, "asked": 20, "slowest_seconds": 0.2,
    "healthy_breaker": "closed",
}  # fmt: skip


def test_a_worker_that_does_all_this_keeps_its_promise() -> None:
    assert is_kept(KEPT)


@pytest.mark.parametrize(
    "broken",
    [
        {"alive": False}, {"memory_mb": 301}, {"blocked_seconds": 0.3}, {"answered": 19}, {"slowest_seconds": 9.0},
        {"healthy_breaker": "open"},
    ],
)  # fmt: skip
def test_a_worker_that_fails_one_thing_breaks_it(broken: dict[str, Any]) -> None:
    assert not is_kept(KEPT | broken)


@pytest.mark.slow
def test_jobs_beside_a_wide_answer_and_a_flood_are_answered(short_directory: Path) -> None:
    kinds = "many_keys,endless_logprobs"
    argv = [sys.executable, "-m", "tests.chaos", "hostile", "--json", "--seconds", "1", "--kinds", kinds]
    run = subprocess.run(argv, cwd=ROOT, env=run_environ(short_directory), capture_output=True, text=True, check=False)
    assert run.stdout, run.stderr
    rows = json.loads(run.stdout)["rows"]
    assert [(row["kind"], row["alive"], row["answered"], row["healthy_breaker"]) for row in rows] == [
        (kind, True, 10, "closed") for kind in kinds.split(",")
    ]
    assert all(row["memory_mb"] < 300 for row in rows)
    assert find_processes(short_directory) == []
