"""A run that runs failed lines again removes their rows, and no others."""

from __future__ import annotations

from pathlib import Path

from openfall.producers.local_batches.batch_file_lines import InvalidLine, output_row, refusal_row
from openfall.producers.local_batches.batch_plan import BatchPlan
from openfall.producers.local_batches.journal_reopening import reopen
from openfall.producers.local_batches.output_journal import Journal
from tests.producers.cli.batch_files import line, read_rows


def test_failed_lines_up_to_the_limit_lose_their_rows(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join([line("a", "x"), "{broken", line("b", "x"), line("c", "x"), line("d", "x")]))
    failed = [output_row(name, name, error={"code": "timeout", "message": ""}) for name in ("a", "c")]
    with Journal(out) as journal:
        journal.add(
            [*failed, *(refusal_row(InvalidLine(number, "unknown", name)) for number, name in ((3, "b"), (5, "d")))]
        )
        reopen(journal, BatchPlan(name="n", source=source, limit=3, retry_failed=True))
    assert [row["custom_id"] for row in read_rows(out)] == ["c", "d"]
