"""The judge of the batches: forged evidence, with one thing wrong at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.chaos_support import find_foreign_imports, forge_call
from tests.chaos.judge.batch_verdict import judge

LINES = [{"custom_id": each} for each in "abc"]
OUTPUT = [{"custom_id": each} for each in "ab"]
ERRORS = [{"custom_id": "c"}]
CALLS = [row for number, each in enumerate("ab") for row in forge_call(number, each, 1000, 2000)]
COUNTS = {"total": 3, "completed": 2, "failed": 1}


def write(folder: Path, name: str, rows: Iterable[Any]) -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def broken(folder: Path, **files: Any) -> list[str]:
    """The promises that a run with these files has broken."""
    evidence: dict[str, Any] = {"input": LINES, "output": OUTPUT, "error": ERRORS, "calls-mock-1": CALLS, "faults": []}
    for name, rows in (evidence | files).items():
        write(folder, f"{name}.jsonl", rows)
    batch = {"id": "b", "lines": 3, "input": "input.jsonl", "output": "output.jsonl", "error": "error.jsonl"}
    write(folder, "batches.jsonl", [{**batch, "counts": COUNTS}])
    return [promise["name"] for promise in judge(folder)["promises"] if not promise["kept"]]


def test_a_run_with_each_line_in_one_file_keeps_every_promise(tmp_path: Path) -> None:
    assert broken(tmp_path) == []


@pytest.mark.parametrize(
    ("files", "promise"),
    [
        ({"output": OUTPUT[:1]}, "each line is in a file"),
        ({"error": [*ERRORS, *OUTPUT[:1]]}, "no custom_id is in two rows"),
        ({"error": [*ERRORS, {"custom_id": "z"}]}, "no row is of another batch"),
        ({"error": [*ERRORS, {"torn": 1}]}, "each file is whole"),
        ({"calls-mock-1": CALLS[:2]}, "each answered line was bought"),
        ({"calls-mock-1": [*CALLS, *forge_call(9, "a", 9000, 9100)]}, "no line is bought twice"),
    ],
)
def test_each_broken_promise_is_noticed(tmp_path: Path, files: dict[str, Any], promise: str) -> None:
    assert broken(tmp_path, **files) == [promise]


def test_a_call_that_a_killed_worker_cut_may_be_bought_again(tmp_path: Path) -> None:
    calls = [*CALLS, *forge_call(9, "a", 9000, 9100)]
    assert broken(tmp_path, **{"calls-mock-1": calls, "faults": [{"kind": "worker", "began": 1500}]}) == []


def test_the_judge_imports_nothing_of_openfall() -> None:
    assert find_foreign_imports(Path(__file__).with_name("judge")) == set()
