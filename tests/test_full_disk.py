"""A file that a full disk does not take is named with its remedy, and no half of it stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from openfall.producers.local_batches.batch_plan import BatchPlan
from openfall.producers.local_batches.saved_plans import save_plan
from openfall.producers.setup.stack_files import InitRefused, NewFile, write_files
from openfall.router_core.state.settlement import Settlement
from openfall.workers.local.errors import LocalError
from openfall.workers.local.locks import only_one
from openfall.workers.local.private_files import write_private
from openfall.workers.spool import Spool
from tests.full_disk import full_disk

LONG = "x" * 1000


def _init(home: Path) -> None:
    write_files([NewFile(home / "openfall.yaml", LONG)], force=False)


def _lock(home: Path) -> None:
    with only_one(home / "up.lock", "openfall up"):
        pass


def _spool(home: Path) -> None:
    Spool(home).write(Settlement("job-1", "ab.1.0", (LONG.encode(),)))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (_init, "/openfall.yaml cannot be written: File too large. Make room, or name another directory."),
        (_lock, "/up.lock cannot be written: File too large. Make room on its disk."),
        (lambda home: write_private(home / "valkey.pid", LONG), "/valkey.pid cannot be written: File too large. Make"),
        (_spool, "File too large"),
    ],
    ids=["init", "lock", "record of a process", "spool"],
)
def test_a_full_disk_keeps_no_half_of_a_file_and_the_file_is_named_with_its_remedy(
    tmp_path: Path, write: Callable[[Path], None], words: str
) -> None:
    with full_disk(0), pytest.raises((InitRefused, LocalError, OSError)) as raised:
        write(tmp_path)
    assert words in str(raised.value)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0
    assert {path.name for path in tmp_path.iterdir()} <= {"up.lock"}


def test_a_batch_whose_plan_does_not_fit_on_the_disk_runs_and_its_last_plan_stays(tmp_path: Path) -> None:
    plan = BatchPlan(name="night", source=tmp_path / "in.jsonl")
    assert save_plan(tmp_path, plan, tmp_path / "out.jsonl") == ""
    before = (tmp_path / "batches" / "night.json").read_bytes()
    with full_disk(0):
        why = save_plan(tmp_path, plan, tmp_path / "other.jsonl")
    assert "cannot be written (File too large)" in why
    assert [path.read_bytes() for path in (tmp_path / "batches").iterdir()] == [before]
