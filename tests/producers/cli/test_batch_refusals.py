"""A batch refuses faulty lines, files that are no batch, and unknown options, and names the remedy."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.producers.cli.batch_files import line, read_rows
from tests.producers.cli.conftest import Run


def test_faulty_lines_are_reported_and_the_others_are_answered(
    openfall: Run, answering: Any, tmp_path: Path, out: Path
) -> None:
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
    rows = {row["custom_id"]: row for row in read_rows(out)}
    assert set(rows) == {"good", "other-url", "no-such", "no-messages", "huge", "fails"}
    assert rows["fails"]["error"] == {"code": "context_overflow", "message": "it was asked to"}
    assert rows["no-such"]["error"]["code"] == "invalid_request"
    assert rows["good"]["response"] is not None


def test_further_notices_are_in_the_json_although_a_line_without_a_custom_id_has_no_row(
    openfall: Run, tmp_path: Path, out: Path
) -> None:
    (tmp_path / "in.jsonl").write_text("{broken\n" * 30)
    ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl", "--json")
    assert len(json.loads(ran.stdout)["bad_lines"]) == 30
    assert ran.stderr.count("not JSON") == 20
    assert "--json lists every such line" in ran.stderr
    assert read_rows(out) == []


def test_an_output_that_is_no_batch_result_is_not_changed(openfall: Run, source: Path, out: Path) -> None:
    out.write_text("my diary\n")
    ran = openfall("batch", "run", "in.jsonl", "-o", "out.jsonl")
    assert ran.returncode == 2
    assert "out.jsonl line 1 is not the result of a batch" in ran.stderr
    assert out.read_text() == "my diary\n"
    assert openfall("batch", "run", "in.jsonl", "-o", "in.jsonl").returncode == 2
    assert "cannot be used: No such file" in openfall("batch", "run", "in.jsonl", "-o", "no/where.jsonl").stderr


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
def test_an_unknown_role_or_urgency_is_reported_once_and_the_output_is_not_changed(
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


def test_an_input_is_text_with_or_without_a_byte_order_mark_and_an_empty_one_is_reported(
    openfall: Run, tmp_path: Path
) -> None:
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
