"""Settles on disk: what is kept, how it is read back, and who may read it."""

import stat

import pytest

from openfall.router_core.state.settlement import Settlement
from openfall.workers.spool import Spool, UnreadableSpool

SETTLE = Settlement("job-00000001", "ab.1.0", (b"{}", b"\x00line", b"", b"answered"))


def test_what_is_kept_is_read_back_the_same(tmp_path):
    spool = Spool(tmp_path / "spool")
    assert spool.read(spool.keep(SETTLE)) == SETTLE


def test_only_its_owner_may_read_it(tmp_path):
    path = Spool(tmp_path / "spool").keep(SETTLE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_keeping_the_same_settle_twice_leaves_one_file(tmp_path):
    spool = Spool(tmp_path)
    spool.keep(SETTLE)
    spool.keep(SETTLE)
    assert [path.name for path in spool.pending()] == ["job-00000001.ab.1.0.json"]


def test_a_spool_that_never_held_anything_has_nothing_pending(tmp_path):
    assert list(Spool(tmp_path / "none").pending()) == []


def test_what_another_worker_has_delivered_is_no_longer_there(tmp_path):
    spool = Spool(tmp_path)
    path = spool.keep(SETTLE)
    spool.drop(path)
    assert spool.read(path) is None
    spool.drop(path)  # a second drop is no error: two workers may deliver the same file


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"id": "x"}', b'{"id": "x", "token": "y", "args": [null]}'])
def test_a_torn_file_is_set_aside_for_a_person(tmp_path, text):
    spool = Spool(tmp_path)
    path = spool.keep(SETTLE)
    path.write_bytes(text)
    with pytest.raises(UnreadableSpool, match=path.name):
        spool.read(path)
    assert spool.set_aside(path).read_bytes() == text
    assert list(spool.pending()) == []
