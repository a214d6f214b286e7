"""The options that say which models a job may use, from the command line to the worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.producers.cli.conftest import Run

LINE = {"custom_id": "a", "body": {"messages": [{"role": "user", "content": "x"}], "model": "tags"}}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(LINE) + "\n")
    return path


def test_a_job_has_its_group_and_stays_in_local_pools(openfall: Run, answering: Any) -> None:
    assert openfall("ask", "hi", "-r", "dialogue", "-g", "whatsapp:main", "--local-only").returncode == 0
    assert openfall("ask", "hi", "-m", "auto").returncode == 0
    first, second = answering.jobs
    assert (first.role, first.group, first.local_only) == ("dialogue", None, True)
    assert (second.role, second.local_only) == ("chat", False)


@pytest.mark.usefixtures("source")
def test_a_whole_batch_may_stay_at_home(openfall: Run, answering: Any) -> None:
    ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl", "--local-only", "-g", "nightly")
    assert ran.returncode == 0, ran.stderr
    assert [(job.local_only, job.role) for job in answering.jobs] == [(True, "tags")]


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize(
    "command", [("ask", "hi"), ("enqueue",), ("batch", "run", "in.jsonl", "-o", "out", "--dry-run")]
)
def test_an_unknown_task_is_refused(openfall: Run, command: tuple[str, ...]) -> None:
    ran = openfall(*command, "-t", "code", stdin="hi")
    assert (ran.returncode, ran.stderr.count("unknown task 'code'. Known: none.")) == (2, 1), ran.stderr
