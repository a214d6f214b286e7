"""An output file that is moved, replaced or deleted while its batch runs ends the run: no row goes into a lost file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from openfall.producers.errors import OutputWriteError
from openfall.producers.local_batches.batch_file_lines import output_row
from openfall.producers.local_batches.output_journal import Journal
from tests.producers.cli.batch_files import read_rows

FIRST, SECOND = (output_row(name, name, error={"code": "timeout", "message": ""}) for name in "ab")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda out: out.rename(out.with_name("moved.jsonl")), id="moved"),
        pytest.param(Path.unlink, id="deleted"),
        pytest.param(lambda out: (out.unlink(), out.write_text("")), id="replaced"),
    ],
)
def test_a_row_is_not_written_into_a_file_that_left_its_path(tmp_path: Path, change: Callable[[Path], object]) -> None:
    with Journal(out := tmp_path / "out.jsonl") as journal:
        journal.add([FIRST])
        change(out)
        with pytest.raises(OutputWriteError, match=r"out\.jsonl was moved, replaced or deleted .* The jobs go on"):
            journal.add([SECOND])
        assert "b" not in journal.state.failed


def test_a_link_to_an_output_file_is_written(tmp_path: Path) -> None:
    (link := tmp_path / "link.jsonl").symlink_to(tmp_path / "out.jsonl")
    with Journal(link) as journal:
        journal.add([FIRST, SECOND])
    assert [row["custom_id"] for row in read_rows(tmp_path / "out.jsonl")] == ["a", "b"]
