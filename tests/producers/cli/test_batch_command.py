"""A batch: every line answered once, whatever interrupts it."""

from __future__ import annotations

import json
import os
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

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]


def line(custom_id: str, prompt: str, **more: Any) -> str:
    body = {"messages": [{"role": "user", "content": prompt}], "model": "tags", **more.pop("body", {})}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body, **more})


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in path.read_text().splitlines()]


def wait_for_rows(out: Path) -> None:
    until = time.monotonic() + 20
    while not out.exists() or not out.read_text().count("\n"):
        assert time.monotonic() < until
        time.sleep(0.01)


class HalfWay:
    """A worker that answers the first ten lines, and the others only when the test has seen enough."""

    def __init__(self, worker_for: Callable[..., Any]) -> None:
        self.enough = threading.Event()
        self.worker = worker_for(reply=self.reply)

    def __enter__(self) -> Any:
        return self.worker.__enter__()

    def __exit__(self, *_: object) -> None:
        self.enough.set()
        self.worker.__exit__()

    def reply(self, job: CompletionJob) -> str:
        wording = str(job.body["messages"][0]["content"])
        if int(wording.split()[1]) >= 10:
            self.enough.wait(20)
        return f"echo {wording}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f"{line(f'line-{n}', f'prompt {n}')}\n" for n in range(40)))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def test_every_line_is_answered_once_in_the_form_of_openai(
    openfall: Run, answering: Any, source: Path, out: Path
) -> None:
    ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "40 of 40 answered, 0 failed: out.jsonl" in ran.stderr
    rows = {row["custom_id"]: row for row in rows_of(out)}
    assert len(rows) == len(rows_of(out)) == 40
    row = rows["line-7"]
    assert row["error"] is None
    assert row["response"]["status_code"] == 200
    assert row["response"]["body"]["choices"][0]["message"]["content"] == "echo prompt 7"
    assert row["id"] == f"batch_req_{row['response']['request_id']}"


def test_a_batch_waits_while_nothing_is_taken_in_and_goes_on(
    openfall: Run, answering: Any, store: Any, source: Path, out: Path
) -> None:
    store.set("of:memory-pressure", "Redis uses 9 MiB of its 10 MiB of memory (maxmemory)", px=2500)
    ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
    assert ran.returncode == 0
    assert ran.stderr.count("The batch waits, and goes on as there is room.") == 1
    assert "40 of 40 answered, 0 failed" in ran.stderr
    assert len(rows_of(out)) == 40


def test_what_has_an_answer_is_not_asked_again(openfall: Run, answering: Any, source: Path, out: Path) -> None:
    openfall("batch", "run", "in.jsonl", "-o", "out.jsonl", "--limit", "25")
    ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl", "--json")
    assert json.loads(ran.stdout) == {
        "total": 40, "answered_before": 25, "answered": 15, "failed": 0, "lost": 0, "bad_lines": [],
        "fallbacks": 0, "usd": 0.0, "unpriced": 15,
    }  # fmt: skip
    assert len(answering.jobs) == 40


def test_an_output_that_was_lost_comes_back_without_a_second_call(
    openfall: Run, answering: Any, source: Path, out: Path
) -> None:
    openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
    out.unlink()
    assert openfall("batch", "run", "in.jsonl", "-o", "out.jsonl").returncode == 0
    assert len(rows_of(out)) == 40
    assert len(answering.jobs) == 40


def test_a_line_that_was_put_in_is_waited_for_though_the_fleet_would_refuse_it_now(
    openfall: Run, answering: Any, source: Path, out: Path, config_file: Path
) -> None:
    openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
    out.unlink()
    config_file.write_text(config_file.read_text().replace("local: yes", "local: no"))
    openfall("local-only", "on")
    source.write_text(source.read_text() + line("line-new", "prompt new") + "\n")
    ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
    assert (ran.returncode, len(answering.jobs)) == (5, 40)
    assert "40 of 41 answered, 1 failed" in ran.stderr
    assert "line 41: no model can take this job" in ran.stderr


def test_a_torn_last_line_is_mended(openfall: Run, answering: Any, source: Path, out: Path) -> None:
    openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
    out.write_bytes(out.read_bytes()[:-30])
    assert "40 of 40 answered (39 of them earlier)" in openfall("batch", "run", "in.jsonl", "-o", "out.jsonl").stderr
    assert Counter(row["custom_id"] for row in rows_of(out)).most_common(1)[0][1] == 1


@pytest.mark.usefixtures("source")
def test_an_interrupted_batch_goes_on_where_it_was(
    start: Start, openfall: Run, worker_for: Callable[..., Any], out: Path
) -> None:
    with start("batch", "run", "in.jsonl", "-o", "out.jsonl") as process, HalfWay(worker_for) as first:
        wait_for_rows(out)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Run the same command again to continue" in err
    with worker_for() as second:
        assert openfall("batch", "run", "in.jsonl", "-o", "out.jsonl").returncode == 0
    assert sorted(row["custom_id"] for row in rows_of(out)) == sorted(f"line-{n}" for n in range(40))
    assert len(first.jobs) + len(second.jobs) == 40


@pytest.mark.usefixtures("source")
def test_a_killed_batch_goes_on_where_it_was(
    start: Start, openfall: Run, worker_for: Callable[..., Any], out: Path
) -> None:
    with start("batch", "run", "in.jsonl", "-o", "out.jsonl") as process, HalfWay(worker_for) as first:
        wait_for_rows(out)
        process.kill()
    with worker_for() as second:
        assert openfall("batch", "run", "in.jsonl", "-o", "out.jsonl").returncode == 0
    assert sorted(row["custom_id"] for row in rows_of(out)) == sorted(f"line-{n}" for n in range(40))
    assert len(first.jobs) + len(second.jobs) == 40


def test_faulty_lines_are_told_and_the_others_go_on(openfall: Run, answering: Any, tmp_path: Path, out: Path) -> None:
    faulty = [
        line("good", "fine"),
        "{broken",
        line("good", "again"),
        line("other-url", "x", url="/v1/embeddings"),
        line("no-such", "x", body={"model": "tagz"}),
        line("no-messages", "x", body={"messages": []}),
        line("huge", "x" * 70_000),
        json.dumps({"body": {}}),
        line("fails", "fail: context_overflow"),
        "",
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(faulty))
    ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
    assert ran.returncode == 5
    for words in (
        "line 2: not JSON",
        "line 3: custom_id 'good' is used in line 1 already",
        "line 4: url must be /v1/chat/completions",
        "line 5: unknown role, task or model 'tagz'. Did you mean 'tags'?",
        "line 6: `messages` must be a non-empty list",
        "line 7: the request has 70,0",
        "line 8: custom_id is missing",
        "1 of 9 answered, 8 failed",
    ):
        assert words in ran.stderr
    rows = {row["custom_id"]: row for row in rows_of(out)}
    assert set(rows) == {"good", "other-url", "no-such", "no-messages", "huge", "fails"}
    assert rows["fails"]["error"] == {"code": "context_overflow", "message": "it was asked to"}
    assert rows["no-such"]["error"]["code"] == "invalid_request"
    assert rows["good"]["response"] is not None


def test_a_failed_line_is_asked_again_when_told_to(
    openfall: Run, worker_for: Callable[..., Any], tmp_path: Path, out: Path
) -> None:
    (tmp_path / "in.jsonl").write_text(f"{line('a', 'fail: timeout')}\n{line('b', 'fine')}\n")
    with worker_for():
        assert openfall("batch", "run", "in.jsonl", "-o", "out.jsonl").returncode == 5
        again = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
        assert again.returncode == 5
        assert "--retry-failed" in again.stderr
    with worker_for(reply=lambda job: "recovered") as worker:
        ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl", "--retry-failed")
    assert ran.returncode == 0
    assert [job.body["messages"][0]["content"] for job in worker.jobs] == ["fail: timeout"]
    assert {row["custom_id"]: row["error"] for row in rows_of(out)} == {"a": None, "b": None}
    assert len(rows_of(out)) == 2


def test_a_line_says_how_urgent_it_is_and_the_command_wins(openfall: Run, answering: Any, tmp_path: Path) -> None:
    rows = [
        line("own", "own", urgency="interactive", body={"service_tier": "flex"}),
        line("tier", "tier", body={"service_tier": "priority"}),
        line("role", "role"),
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(rows))
    openfall("batch", "run", "in.jsonl", "-o", "one.jsonl")
    wording = {job.body["messages"][0]["content"]: str(job.urgency) for job in answering.jobs}
    assert wording == {"own": "interactive", "tier": "interactive", "role": "batch"}
    answering.jobs.clear()
    openfall("batch", "run", "in.jsonl", "-o", "two.jsonl", "-u", "background", "-r", "dialogue")
    assert {(job.role, str(job.urgency)) for job in answering.jobs} == {("dialogue", "background")}


def test_a_dry_run_puts_nothing_in_and_needs_no_redis(openfall: Run, tmp_path: Path, source: Path, out: Path) -> None:
    with source.open("a") as file:
        file.write("{broken\n")
    ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl", "--dry-run", url="redis://127.0.0.1:1")
    assert ran.returncode == 5
    assert "line 41: not JSON" in ran.stderr
    assert "41 lines: 40 to run, 0 answered before, 1 invalid or failed" in ran.stderr
    assert not out.exists()


def test_status_tells_how_far_a_batch_is_by_name_and_by_file(
    start: Start, openfall: Run, source: Path, out: Path
) -> None:
    with start("batch", "run", "in.jsonl", "-o", "out.jsonl") as process:
        actual: dict[str, Any] = {}
        while actual.get("queued") != 40:
            ran = openfall("batch", "status", "out", "--json")
            actual = json.loads(ran.stdout) if ran.returncode == 0 else {}
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 130
    assert (actual["lines"], actual["answered"], actual["failed"]) == (40, 0, 0)
    assert "queued" in openfall("batch", "status", "out.jsonl").stdout


def test_an_output_that_is_something_else_is_not_touched(openfall: Run, source: Path, out: Path) -> None:
    out.write_text("my diary\n")
    ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
    assert ran.returncode == 2
    assert "out.jsonl line 1 is not the result of a batch" in ran.stderr
    assert out.read_text() == "my diary\n"
    assert openfall("batch", "run", "in.jsonl", "-o", "in.jsonl").returncode == 2
    assert "cannot be used: No such file" in openfall("batch", "run", "in.jsonl", "-o", "no/where.jsonl").stderr


def test_two_runs_do_not_write_one_file(start: Start, openfall: Run, source: Path, out: Path) -> None:
    with start("batch", "run", "in.jsonl", "-o", "out.jsonl") as process:
        while not out.exists() or openfall("status").stdout.startswith("Nothing waits"):
            assert process.poll() is None
        ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert ran.returncode == 2
    assert "another run of this batch is writing" in ran.stderr


@pytest.mark.usefixtures("source")
def test_a_full_disk_keeps_what_was_written_and_says_how_to_go_on(
    environment: dict[str, str], openfall: Run, redis_url: str, answering: Any, out: Path
) -> None:
    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    ran = subprocess.run(
        [sys.executable, "-m", "openfall.producers.cli", "batch", "run", "in.jsonl", "-o", "out.jsonl"],
        cwd=out.parent, env={**environment, "REDIS_URL": redis_url}, preexec_fn=little_room,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "out.jsonl cannot be written: File too large. Its rows are kept" in ran.stderr
    assert "run the same command again" in ran.stderr
    assert openfall("batch", "run", "in.jsonl", "-o", "out.jsonl").returncode == 0
    assert sorted(row["custom_id"] for row in rows_of(out)) == sorted(f"line-{n}" for n in range(40))
    assert len(answering.jobs) == 40


@pytest.mark.usefixtures("source")
def test_a_batch_bears_a_restart_of_redis(start: Start, server: Any, worker_for: Callable[..., Any], out: Path) -> None:
    with start("batch", "run", "in.jsonl", "-o", "out.jsonl", url=server.url) as process:
        worker = worker_for()
        worker.url = server.url
        until = time.monotonic() + 20
        while not out.exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        time.sleep(1.5)  # what was accepted is on disk within a second: appendfsync everysec
        server.kill()
        server.start()
        with worker:
            _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert len(rows_of(out)) == 40


@pytest.mark.usefixtures("source")
def test_a_device_or_a_pipe_is_refused_as_output_and_as_input(openfall: Run, tmp_path: Path) -> None:
    for device in ("/dev/full", "/dev/zero", str(tmp_path)):
        ran = openfall("batch", "run", "in.jsonl", "-o", device)
        assert (ran.returncode, "OUT must be a regular file" in ran.stderr) == (2, True), ran.stderr
    os.mkfifo(tmp_path / "pipe")
    ran = openfall("batch", "run", "pipe", "-o", "out.jsonl")
    assert (ran.returncode, "IN must be a regular file" in ran.stderr) == (2, True), ran.stderr


@pytest.mark.usefixtures("source")
def test_an_endless_line_is_refused_before_it_fills_the_memory(openfall: Run, tmp_path: Path, out: Path) -> None:
    with (tmp_path / "zeros").open("wb") as file:
        file.truncate((64 << 20) + 1)  # a hole: takes no room
    as_output = openfall("batch", "run", "in.jsonl", "-o", "zeros")
    assert (as_output.returncode, "zeros line 1 is longer than 64 MiB" in as_output.stderr) == (2, True)
    as_input = openfall("batch", "run", "zeros", "-o", "out.jsonl")
    assert (as_input.returncode, "line 1 is longer than 64 MiB" in as_input.stderr) == (2, True)


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("option", ["--role", "--urgency"])
@pytest.mark.parametrize("dry", [("--dry-run",), ("--retry-failed",)])
def test_an_unknown_role_or_urgency_is_told_once_and_leaves_the_output_alone(
    openfall: Run, out: Path, option: str, dry: tuple[str, ...]
) -> None:
    before = '{"id": "a", "custom_id": "line-1", "response": null, "error": {"code": "timeout", "message": ""}}'
    out.write_text(before)
    ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl", option, "nope", *dry)
    assert (ran.returncode, ran.stderr.count("nope")) == (2, 1), ran.stderr
    assert out.read_text() == before
    out.unlink()
    assert openfall("batch", "run", "in.jsonl", "-o", "out.jsonl", option, "nope").returncode == 2
    assert not out.exists()


def test_an_input_is_text_with_or_without_a_mark_and_an_empty_one_is_said(openfall: Run, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(f"\ufeff{line('a', 'x')}\n")
    assert openfall("batch", "run", "in.jsonl", "-o", "out", "--dry-run").returncode == 0
    source.write_bytes(b"\x80\xff\n" * 9)
    ran = openfall("batch", "run", "in.jsonl", "-o", "out")
    assert (ran.returncode, ran.stderr.count("is not UTF-8 text")) == (2, 1), ran.stderr
    source.write_text("")
    ran = openfall("batch", "run", "in.jsonl", "-o", "out")
    assert (ran.returncode, "warning: in.jsonl is empty" in ran.stderr) == (0, True), ran.stderr
    source.write_text("{broken\n")
    ran = openfall("batch", "run", "in.jsonl", "-o", "out", "--dry-run")
    assert "at column 2" in ran.stderr
    ran = openfall("batch", "run", "in.jsonl", "-o", "-")
    assert (ran.returncode, "name a file" in ran.stderr) == (2, True)
