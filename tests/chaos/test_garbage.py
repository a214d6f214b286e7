"""Garbage in Redis under real workers: a small form of the scenario."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.chaos.chaos_support import ROOT, find_processes, run_environ


def test_jobs_are_answered_and_no_worker_ends_while_keys_of_each_kind_get_another_type(short_directory: Path) -> None:
    argv = [sys.executable, "-m", "tests.chaos", "garbage", "--json", "--damage", "another type"]
    run = subprocess.run(argv, cwd=ROOT, env=run_environ(short_directory), capture_output=True, text=True, check=False)
    assert run.stdout, run.stderr
    verdict = json.loads(run.stdout)
    assert (verdict["broken"], verdict["figures"]["workers_ended"], verdict["problems"]) == ([], [], [])
    assert verdict["figures"]["damages"] >= 20
    assert verdict["figures"]["unreadable_values"] >= 1
    assert find_processes(short_directory) == []
