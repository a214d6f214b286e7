"""The spool: what a file contains, how it is read back, and who may read it."""

import os
import stat
import subprocess

import pytest

from openfall.router_core.state.settlement import Settlement
from openfall.workers.spool import Spool, UnreadableSpool

SETTLEMENT = Settlement("job-00000001", "ab.1.0", (b"{}", b"\x00line", b"", b"answered"))


def test_a_settlement_is_read_back_unchanged(tmp_path):
    spool = Spool(tmp_path / "spool")
    assert spool.read(spool.write(SETTLEMENT)) == SETTLEMENT


def test_only_the_owner_can_read_a_file(tmp_path):
    path = Spool(tmp_path / "spool").write(SETTLEMENT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_writing_a_settlement_twice_leaves_one_file(tmp_path):
    spool = Spool(tmp_path)
    spool.write(SETTLEMENT)
    spool.write(SETTLEMENT)
    assert [path.name for path in spool.pending()] == ["job-00000001.ab.1.0.json"]


def test_a_new_spool_has_no_pending_file(tmp_path):
    assert list(Spool(tmp_path / "none").pending()) == []


def test_a_file_that_another_worker_delivered_is_gone(tmp_path):
    spool = Spool(tmp_path)
    path = spool.write(SETTLEMENT)
    spool.remove(path)
    assert spool.read(path) is None
    spool.remove(path)  # not an error: two workers may deliver the same file


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"id": "x"}', b'{"id": "x", "token": "y", "args": [null]}'])
def test_a_damaged_file_is_quarantined(tmp_path, text):
    spool = Spool(tmp_path)
    path = spool.write(SETTLEMENT)
    path.write_bytes(text)
    with pytest.raises(UnreadableSpool, match=path.name):
        spool.read(path)
    assert spool.quarantine(path).read_bytes() == text
    assert list(spool.pending()) == []


def test_torn_drafts_of_dead_processes_are_removed_and_never_delivered(tmp_path):
    with subprocess.Popen(["true"]) as dead:
        pass
    torn = tmp_path / f"job-00000001.ab.1.draft-{dead.pid}"
    own = tmp_path / f"job-00000002.ab.1.draft-{os.getppid()}"
    for path in (torn, own):
        path.write_bytes(b'{"id": "job-0')
    spool = Spool(tmp_path)
    kept = spool.write(SETTLEMENT)
    assert spool.remove_drafts() == 1
    assert sorted(tmp_path.iterdir()) == sorted([kept, own]), "another worker still writes its own"
    assert list(spool.pending()) == [kept]
    assert Spool(tmp_path / "none").remove_drafts() == 0
