"""Garbage in Redis under real workers: a small form of the scenario."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import garbage
from tests.chaos.chaos_support import ROOT, find_processes, run_environ


@pytest.mark.slow
def test_jobs_are_answered_and_no_worker_ends_while_keys_of_each_kind_get_another_type(short_directory: Path) -> None:
    argv = [sys.executable, "-m", "tests.chaos", "garbage", "--json", "--damage", "another type"]
    run = subprocess.run(argv, cwd=ROOT, env=run_environ(short_directory), capture_output=True, text=True, check=False)
    assert run.stdout, run.stderr
    verdict = json.loads(run.stdout)
    assert (verdict["broken"], verdict["figures"]["workers_ended"], verdict["problems"]) == ([], [], [])
    assert verdict["figures"]["lost"] == []
    assert verdict["figures"]["damages"] >= 20
    assert verdict["figures"]["unreadable_values"] >= 1
    assert find_processes(short_directory) == []


ROW = {"key": "of:x", "damage": "empty", "answered": garbage.JOBS_AFTER_DAMAGE}


@pytest.mark.parametrize(
    ("verdict", "kept"),
    [
        (([ROW], 6, [], [], 1), True),
        (([ROW | {"answered": 0}], 6, [], [], 1), False),
        (([ROW], 6, ["job (good): queued"], [], 1), False),
        (([ROW], 6, [], ["worker-0.log"], 1), False),
        (([ROW], 0, [], [], 1), False),
        (([ROW], 6, [], [], 0), False),
    ],
)
def test_the_verdict_fails_for_each_thing_that_is_not_kept(verdict: tuple[Any, ...], kept: bool) -> None:
    assert garbage.judge(*verdict)["kept"] is kept
