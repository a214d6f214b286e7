"""The journal of a batch: what a kill, a frozen runner and a full disk leave of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from openfall.producers.gateway.batches.batch_journal import BatchJournal
from openfall.router_core.batch_rules.journal_row_format import JournalRow, LineEnd
from openfall.router_core.batch_rules.line_tokens import LineTokens
from tests.full_disk import full_disk

LINES = 10


def row(index: int, end: LineEnd = LineEnd.SUCCEEDED, text: str = "") -> JournalRow:
    return JournalRow(index, end, json.dumps({"custom_id": str(index), "text": text}).encode())


Open = Callable[[int], BatchJournal]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens the journal of a claim, and closes it after the test."""
    journals: list[BatchJournal] = []

    def open_journal(claim: int) -> BatchJournal:
        journals.append(BatchJournal(tmp_path, claim, LINES))
        journals[-1].open()
        return journals[-1]

    yield open_journal
    for journal in journals:
        journal.close()


def written(journal: BatchJournal, folder: Path) -> tuple[list[str], list[str]]:
    """The custom_ids in the output and in the error file."""
    outputs, errors = folder / "outputs", folder / "errors"
    journal.split(outputs, errors)
    first, second = (
        [json.loads(line)["custom_id"] for line in file.read_text().splitlines()] for file in (outputs, errors)
    )
    return first, second


def test_a_journal_that_is_taken_over_has_the_tokens_of_its_rows(opened: Open) -> None:
    opened(1).add([replace(row(0), tokens=LineTokens(41, 40, 5, 3)), replace(row(1), tokens=LineTokens(1)), row(2)])
    assert opened(2).tokens == LineTokens(42, 40, 5, 3)


def test_each_line_is_in_one_file_by_its_end(opened: Open, tmp_path: Path) -> None:
    journal = opened(1)
    journal.add([row(2), row(0, LineEnd.ERRORED)])
    journal.add([row(1, LineEnd.CANCELLED), row(2, LineEnd.ERRORED), row(0)])
    assert written(journal, tmp_path) == (["2"], ["0", "1"])
    assert (journal.rest, journal.ends.total()) == (7, 3)


@pytest.mark.parametrize(
    "torn",
    [
        b"3",
        b'3 s - {"custom_id"',
        b'3 s - {"custom_id": "3"}',
        b'3 s - {"a": "\0\0\0"}\n',
        b'99 s - {"custom_id": "99"}\n',
    ],
)
def test_a_row_that_a_kill_cut_short_is_left_out_by_the_next_runner(opened: Open, tmp_path: Path, torn: bytes) -> None:
    first = opened(1)
    first.add([row(1), row(2)])
    first.close()
    with (tmp_path / "journal.1").open("ab") as file:
        file.write(torn)
    second = opened(2)
    assert [index for index in range(LINES) if second.has_end[index]] == [1, 2]
    second.add([row(3), row(1, text="again")])
    assert written(second, tmp_path) == (["1", "2", "3"], [])


def test_what_a_frozen_runner_writes_after_it_has_lost_its_batch_counts_nowhere(opened: Open, tmp_path: Path) -> None:
    frozen = opened(1)
    frozen.add([row(1)])
    second = opened(2)
    frozen.add([row(5, text="late")])
    second.add([row(2)])
    third = opened(3)
    assert written(third, tmp_path) == (["1", "2"], [])


def test_a_copy_that_was_cut_off_is_no_journal(opened: Open, tmp_path: Path) -> None:
    opened(1).add([row(1), row(2)])
    (tmp_path / "journal.2.part").write_bytes(row(1).packed())
    assert written(opened(3), tmp_path) == (["1", "2"], [])
    assert sorted(path.name for path in tmp_path.glob("journal*")) == ["journal.3"]


def test_a_full_disk_leaves_whole_rows_and_the_same_rows_can_be_written_later(opened: Open, tmp_path: Path) -> None:
    journal = opened(1)
    journal.add([row(1)])
    with full_disk(4096), pytest.raises(OSError, match="large"):
        journal.add([row(2, text="x" * 8192)])
    assert (journal.is_open, journal.has_end[2]) == (True, 0)
    journal.add([row(2), row(3)])
    journal.close()
    with pytest.raises(OSError, match="closed"):
        journal.add([row(4)])
    assert written(opened(2), tmp_path) == (["1", "2", "3"], [])
