"""The counts of a batch add up to its lines. An invalid line is corrected in the file, a failed one is retried."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openfall.router_core.jobs.outcome import ErrorClass
from tests.producers.cli.batch_files import line, read_rows
from tests.producers.cli.conftest import Run

RUN = ("batch", "run", "in.jsonl", "-o", "out.jsonl")
PARTS = ("answered", "failed", "waiting", "uncollected", "not_submitted")
MALFORMED = "{broken"
UNKNOWN_MODEL = line("u", "x", body={"model": "nowhere"})
CORRECT, RETRY = "correct them in in.jsonl, then run the same command again", "--retry-failed"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., None]:
    return lambda *lines: (tmp_path / "in.jsonl").write_text("".join(f"{row}\n" for row in lines)) and None


def parts_of(openfall: Run) -> dict[str, int]:
    (batch,) = json.loads(openfall("batch", "list", "--json").stdout)
    assert sum(batch[name] for name in PARTS) == batch["lines"]
    return {name: batch[name] for name in PARTS if batch[name]}


@pytest.mark.parametrize(
    ("bad", "count"),
    [
        ([MALFORMED], 1),
        ([UNKNOWN_MODEL], 1),
        ([line("a", "again")], 1),
        ([json.dumps({"custom_id": "n"})], 1),
        ([MALFORMED, UNKNOWN_MODEL, line("a", "again"), "[]"], 4),
    ],
    ids=["no JSON", "an unknown model", "a custom_id twice", "no body", "all of them"],
)
def test_invalid_lines_count_as_failed(openfall: Run, answering: Any, write: Any, bad: list[str], count: int) -> None:
    write(line("a", "x"), line("b", "y"), *bad)
    for _ in range(2):
        ran = openfall(*RUN)
        assert f"2 of {2 + count} answered" in ran.stderr
        assert (CORRECT in ran.stderr, RETRY in ran.stderr) == (True, False)
        assert parts_of(openfall) == {"answered": 2, "failed": count}
        status = json.loads(openfall("batch", "status", "out", "--json").stdout)
        assert (status["failed"], status["invalid_request"]) == (count, count)


def test_a_corrected_line_runs_with_the_same_command(openfall: Run, answering: Any, write: Any, out: Path) -> None:
    write(line("a", "x"), UNKNOWN_MODEL, MALFORMED)
    assert openfall(*RUN).returncode == 5
    write(line("a", "x"), line("u", "x"), line("c", "z"))
    ran = openfall(*RUN)
    assert (ran.returncode, "3 of 3 answered (1 of them earlier)" in ran.stderr) == (0, True), ran.stderr
    assert sorted((row["custom_id"], row["error"]) for row in read_rows(out)) == [("a", None), ("c", None), ("u", None)]


def test_a_second_run_writes_nothing_where_lines_are_still_invalid_for_the_same_reason(
    openfall: Run, answering: Any, write: Any, out: Path
) -> None:
    write(UNKNOWN_MODEL, line("a", "x"), json.dumps({"custom_id": "n"}), line("b", "y"))
    openfall(*RUN)
    before = out.read_bytes()
    for options in ((), (), ("--retry-edited",)):
        openfall(*RUN, *options)
        assert out.read_bytes() == before, options


def test_a_line_that_is_invalid_for_another_reason_has_one_row_with_that_reason(
    openfall: Run, answering: Any, write: Any, out: Path
) -> None:
    write(line("a", "x"), UNKNOWN_MODEL)
    openfall(*RUN)
    write(line("a", "x"), json.dumps({"custom_id": "u"}))
    openfall(*RUN)
    errors = {row["custom_id"]: row["error"] for row in read_rows(out)}
    assert len(read_rows(out)) == 2
    assert (errors["a"], "body is missing" in errors["u"]["message"]) == (None, True)


def test_a_failed_line_and_an_invalid_one_have_their_own_remedies(
    openfall: Run, worker_for: Callable[..., Any], write: Any
) -> None:
    write(line("a", "x"), MALFORMED)
    with worker_for(reply=lambda job: ErrorClass.TIMEOUT):
        ran = openfall(*RUN)
        assert (CORRECT in ran.stderr, RETRY in ran.stderr) == (True, True)
        write(line("a", "x"))
        ran = openfall(*RUN)
        assert (CORRECT in ran.stderr, RETRY in ran.stderr) == (False, True)


def test_a_retry_keeps_the_answer_of_a_line_whose_custom_id_is_used_twice(
    openfall: Run, answering: Any, write: Any, out: Path
) -> None:
    write(line("a", "x"), json.dumps({"custom_id": "a"}))
    for options in ((), (), (RETRY,), (RETRY,)):
        openfall(*RUN, *options)
        assert sum(row["error"] is None for row in read_rows(out)) == 1, options


def test_a_lost_output_is_named_and_the_same_command_writes_it_again(
    openfall: Run, answering: Any, write: Any, out: Path
) -> None:
    write(line("a", "x"), line("b", "y"), MALFORMED)
    openfall(*RUN)
    out.unlink()
    assert parts_of(openfall) == {"uncollected": 2, "failed": 1}
    (batch,) = json.loads(openfall("batch", "list", "--json").stdout)
    assert "out.jsonl is gone: the same command writes it again" in batch["why"]
    assert "is gone" in openfall("batch", "status", "out").stdout
    openfall(*RUN)
    assert parts_of(openfall) == {"answered": 2, "failed": 1}


def test_a_dry_run_is_no_batch(openfall: Run, write: Any) -> None:
    write(line("a", "x"), MALFORMED)
    openfall(*RUN, "--dry-run")
    assert openfall("batch", "list", "--json").stdout.strip() == "[]"
