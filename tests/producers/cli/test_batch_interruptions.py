"""A batch that is interrupted or killed, or loses Redis or room on the disk, continues without a second answer."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openfall.router_core.jobs.job import CompletionJob
from tests.producers.cli.batch_files import LINES, every_line_has_one_row, read_rows
from tests.producers.cli.conftest import Run, Start


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


class HalfWay:
    """A worker that answers the first ten lines at once, and the others only when the test leaves its block."""

    def __init__(self, worker_for: Callable[..., Any]) -> None:
        self.released = threading.Event()
        self.worker = worker_for(reply=self.reply)

    def __enter__(self) -> Any:
        return self.worker.__enter__()

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.worker.__exit__()

    def reply(self, job: CompletionJob) -> str:
        prompt = str(job.body["messages"][0]["content"])
        if int(prompt.split()[1]) >= 10:
            self.released.wait(60)
        return f"echo {prompt}"


def test_an_output_that_was_lost_comes_back_without_a_second_call(
    openfall: Run, answering: Any, source: Path, out: Path
) -> None:
    openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
    out.unlink()
    assert openfall("batch", "run", "in.jsonl", "-o", "out.jsonl").returncode == 0
    assert len(read_rows(out)) == 40
    assert len(answering.jobs) == 40


def test_a_torn_last_line_is_repaired(openfall: Run, answering: Any, source: Path, out: Path) -> None:
    openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
    out.write_bytes(out.read_bytes()[:-30])
    assert "40 of 40 answered (39 of them earlier)" in openfall("batch", "run", "in.jsonl", "-o", "out.jsonl").stderr
    assert Counter(row["custom_id"] for row in read_rows(out)).most_common(1)[0][1] == 1


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize(
    ("ended_by", "code", "remedy"),
    [
        (signal.SIGINT, 130, "Run the same command again to continue"),
        (signal.SIGTERM, 130, "Run the same command again to continue"),
        (signal.SIGHUP, 130, "Run the same command again to continue"),
        (signal.SIGKILL, -signal.SIGKILL, ""),
    ],
    ids=["interrupted", "terminated", "terminal closed", "killed"],
)
def test_an_interrupted_or_killed_batch_continues_where_it_stopped(
    start: Start, openfall: Run, worker_for: Callable[..., Any], out: Path,
    ended_by: signal.Signals, code: int, remedy: str,
) -> None:  # fmt: skip
    with start("batch", "run", "in.jsonl", "-o", "out.jsonl") as process, HalfWay(worker_for) as first:
        wait_for(lambda: out.exists() and "\n" in out.read_text())
        process.send_signal(ended_by)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert remedy in err
    with worker_for() as second:
        assert openfall("batch", "run", "in.jsonl", "-o", "out.jsonl").returncode == 0
    assert every_line_has_one_row(out)
    assert len(first.jobs) + len(second.jobs) == LINES


def test_a_second_run_does_not_write_the_same_file(start: Start, openfall: Run, source: Path, out: Path) -> None:
    with start("batch", "run", "in.jsonl", "-o", "out.jsonl") as process:
        while not out.exists() or "othing waits" in openfall("status").stdout:
            assert process.poll() is None
        ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert ran.returncode == 2
    assert "another run of this batch is writing" in ran.stderr


@pytest.mark.usefixtures("source")
def test_a_full_disk_keeps_the_rows_and_names_the_remedy(
    environment: dict[str, str], openfall: Run, redis_url: str, answering: Any, out: Path
) -> None:
    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    ran = subprocess.run(
        [sys.executable, "-m", "openfall.producers.cli", "batch", "run", "in.jsonl", "-o", "out.jsonl"],
        # Without PYTHONDONTWRITEBYTECODE it would leave cut files of bytecode to every process after it.
        cwd=out.parent, env={**environment, "REDIS_URL": redis_url, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=limit_file_size, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "out.jsonl cannot be written: File too large. Its rows are kept" in ran.stderr
    assert "run the same command again" in ran.stderr
    assert openfall("batch", "run", "in.jsonl", "-o", "out.jsonl").returncode == 0
    assert every_line_has_one_row(out)
    assert len(answering.jobs) == 40


@pytest.mark.usefixtures("source")
def test_a_batch_survives_a_restart_of_redis(
    start: Start, server: Any, worker_for: Callable[..., Any], out: Path
) -> None:
    with start("batch", "run", "in.jsonl", "-o", "out.jsonl", url=server.url) as process:
        worker = worker_for()
        worker.url = server.url
        wait_for(out.exists)
        server.kill()
        server.start()
        with worker:
            _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert len(read_rows(out)) == 40
