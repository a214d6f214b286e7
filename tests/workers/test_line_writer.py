"""A log on a full disk, or without a reader, loses whole lines and says how many; a truncated one begins anew."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from openfall.workers import log_output
from openfall.workers.line_writer import LineWriter
from openfall.workers.log_output import BackgroundHandler


def _notice(words: str) -> bytes:
    return f"W {words}\n".encode()


def test_lines_that_a_full_disk_does_not_take_are_counted_and_a_line_says_it_once_there_is_room(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    room = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    writer = LineWriter(_notice)
    writer.write(full, b"one\ntwo\n")
    writer.write(full, b"three\n")
    writer.write(room, b"four\n")
    writer.write(room, b"five\n")
    os.close(full)
    os.close(room)
    text = (tmp_path / "log").read_text()
    assert text == "four\nW 3 lines of the log were dropped: no space left on device\nfive\n"


def test_after_half_a_line_the_next_one_begins_on_a_line_of_its_own() -> None:
    reader, pipe = os.pipe()
    os.set_blocking(pipe, False)
    room = 0
    while room < 1 << 30:
        try:
            room += os.write(pipe, b"." * 4096)
        except BlockingIOError:
            break
    os.read(reader, room)
    writer = LineWriter(_notice)
    writer.write(pipe, b"a" * (room + 8) + b"\nb\n")  # some of the first line fits
    first = os.read(reader, room)
    writer.write(pipe, b"c\n")
    lines = os.read(reader, room).decode().splitlines()
    os.close(reader)
    os.close(pipe)
    assert (set(first), writer.lost) == ({ord("a")}, 0)
    assert (lines[0].strip("a"), lines[1], lines[2][:39]) == ("", "c", "W 2 lines of the log were dropped: reso")


def test_a_notice_that_is_lost_itself_is_no_lost_line() -> None:
    reader, pipe = os.pipe()
    os.set_blocking(pipe, False)
    writer = LineWriter(lambda words: b"x" * (1 << 24) + _notice(words), lost=7)  # more than a pipe takes
    writer.write(pipe, b"a line\n")
    os.close(reader)
    os.close(pipe)
    assert writer.lost == 7


def test_a_log_that_is_truncated_while_it_is_written_begins_with_its_next_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """logrotate with `copytruncate`, and a shell that opened the file with `>`."""
    monkeypatch.setattr(log_output, "FLUSH_TIMEOUT_SECONDS", 60.0)  # the thread may have no turn for a second
    descriptor = os.open(tmp_path / "work.log", os.O_WRONLY | os.O_CREAT)
    log = logging.Logger("of-a-test")
    log.addHandler(handler := BackgroundHandler(descriptor))
    for words in ("before", "after"):
        os.truncate(tmp_path / "work.log", 0)
        log.info("%s", words)
        handler.flush()
    os.close(descriptor)
    text = (tmp_path / "work.log").read_bytes()
    assert (text.endswith(b" I after\n"), text.count(b"\0")) == (True, 0)
