"""`openfall batch`: every line is answered once, and its result is one row of the output."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.producers.cli.batch_files import line, read_rows
from tests.producers.cli.conftest import Run, Start


def test_every_line_is_answered_once_in_the_form_of_openai(
    openfall: Run, answering: Any, source: Path, out: Path
) -> None:
    ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "40 of 40 answered, 0 failed: out.jsonl" in ran.stderr
    rows = {row["custom_id"]: row for row in read_rows(out)}
    assert len(rows) == len(read_rows(out)) == 40
    row = rows["line-7"]
    assert row["error"] is None
    assert row["response"]["status_code"] == 200
    assert row["response"]["body"]["choices"][0]["message"]["content"] == "echo prompt 7"
    assert row["id"] == f"batch_req_{row['response']['request_id']}"


def test_a_batch_waits_while_no_job_is_accepted_and_continues(
    openfall: Run, answering: Any, store: Any, source: Path, out: Path
) -> None:
    store.set("of:memory-pressure", "Redis uses 9 MiB of its 10 MiB of memory (maxmemory)", px=2500)
    ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
    assert ran.returncode == 0
    assert ran.stderr.count("The batch waits, and goes on as there is room.") == 1
    assert "40 of 40 answered, 0 failed" in ran.stderr
    assert len(read_rows(out)) == 40


def test_an_answered_line_is_not_submitted_again(openfall: Run, answering: Any, source: Path, out: Path) -> None:
    openfall("batch", "run", "in.jsonl", "-o", "out.jsonl", "--limit", "25")
    ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl", "--json")
    assert json.loads(ran.stdout) == {
        "total": 40, "answered_before": 25, "answered": 15, "failed": 0, "lost": 0, "bad_lines": [],
        "fallbacks": 0, "usd": 0.0, "unpriced": 15, "edited": [],
    }  # fmt: skip
    assert len(answering.jobs) == 40


def test_a_submitted_line_is_awaited_although_the_fleet_would_refuse_it_now(
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


def test_a_failed_line_is_submitted_again_with_retry_failed(
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
    assert {row["custom_id"]: row["error"] for row in read_rows(out)} == {"a": None, "b": None}
    assert len(read_rows(out)) == 2


def test_a_line_is_batch_or_has_an_urgency_of_its_own_and_the_command_overrides_both(
    openfall: Run, answering: Any, tmp_path: Path
) -> None:
    rows = [
        line("own", "own", urgency="interactive", body={"service_tier": "flex"}),
        line("tier", "tier", body={"service_tier": "priority"}),
        line("role", "role"),
        line("person", "person", body={"model": "dialogue"}),
        line("odd", "odd", body={"service_tier": "scale"}),
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(rows))
    openfall("batch", "run", "in.jsonl", "-o", "one.jsonl")
    urgencies = {job.body["messages"][0]["content"]: str(job.urgency) for job in answering.jobs}
    assert urgencies == {
        "own": "interactive",
        "tier": "interactive",
        "role": "batch",
        "person": "batch",
        "odd": "batch",
    }
    answering.jobs.clear()
    openfall("batch", "run", "in.jsonl", "-o", "two.jsonl", "-u", "background", "-r", "dialogue")
    assert {(job.role, str(job.urgency)) for job in answering.jobs} == {("dialogue", "background")}


def test_a_dry_run_submits_nothing_and_needs_no_redis(openfall: Run, tmp_path: Path, source: Path, out: Path) -> None:
    with source.open("a") as file:
        file.write("{broken\n")
    ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl", "--dry-run", url="redis://127.0.0.1:1")
    assert ran.returncode == 5
    assert "line 41: not JSON" in ran.stderr
    assert "41 lines: 40 to run, 0 answered before, 1 invalid or failed" in ran.stderr
    assert not out.exists()


def test_status_shows_the_progress_of_a_batch_by_name_and_by_file(
    start: Start, openfall: Run, source: Path, out: Path
) -> None:
    with start("batch", "run", "in.jsonl", "-o", "out.jsonl") as process:
        progress: dict[str, Any] = {}
        while progress.get("queued") != 40:
            ran = openfall("batch", "status", "out", "--json")
            progress = json.loads(ran.stdout) if ran.returncode == 0 else {}
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert (progress["lines"], progress["answered"], progress["failed"]) == (40, 0, 0)
    assert "queued" in openfall("batch", "status", "out.jsonl").stdout


def test_each_row_of_a_result_file_is_one_line_for_every_reader(
    openfall: Run, answering: Any, tmp_path: Path, out: Path
) -> None:
    prompt = "a\u2028b\u2029c\u0085d\u000be\u001cf\ufeff\u202e"
    (tmp_path / "in.jsonl").write_text(line("a", prompt) + "\n")
    openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
    rows = out.read_text("utf-8").splitlines()
    assert len(rows) == 1
    assert json.loads(rows[0])["response"]["body"]["choices"][0]["message"]["content"] == f"echo {prompt}"
