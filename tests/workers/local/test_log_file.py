"""The log of a process is bounded while it runs, and each of its lines has date and zone."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path

from openfall.workers.local.child import spawn
from openfall.workers.local.log_file import BACKUPS, LogFile

STAMPED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d ")


def test_a_log_is_bounded_in_size_and_number_while_it_is_written(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log" / "engine.log", max_bytes=1000)
    for number in range(400):
        log.write(b"line %d\n" % number)
    files = sorted(path.name for path in log.path.parent.iterdir())
    assert files == ["engine.log", *(f"engine.log.{number}" for number in range(1, BACKUPS + 1))]
    assert all(path.stat().st_size < 1100 and path.stat().st_mode & 0o077 == 0 for path in log.path.parent.iterdir())
    assert log.path.read_text().endswith("line 399\n")


def test_a_line_without_a_time_gets_one_and_a_line_with_a_time_keeps_its_own(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log")
    log.write(b"llama: loaded\n\n7:M 2026-11-21T08:00:00.123+01:00 * Ready\n2026-11-21T08:00:00+01:00 I answered\n")
    lines = log.path.read_text().splitlines()
    assert STAMPED.match(lines[0])
    assert lines[0].endswith(" llama: loaded")
    assert lines[1:] == ["", "7:M 2026-11-21T08:00:00.123+01:00 * Ready", "2026-11-21T08:00:00+01:00 I answered"]


def test_a_log_that_cannot_be_written_loses_lines_and_stops_nothing(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log")
    (tmp_path / "a.log").mkdir()
    log.write(b"lost\n")
    assert list(log.recent) == [b"lost"]


def test_the_output_of_a_process_is_in_its_log_whole_and_in_memory_at_its_end(tmp_path: Path) -> None:
    code = "import sys; print('x' * 200_000); print('first'); sys.stderr.write('last without end')"

    async def main() -> list[str]:
        child = await spawn([sys.executable, "-c", code], tmp_path / "a.log")
        assert await child.wait() == 0
        return child.last_lines(2)

    assert asyncio.run(main()) == ["first", "last without end"]
    text = (tmp_path / "a.log").read_text()
    assert text.count("x") == 200_000
    assert all(STAMPED.match(line) for line in text.splitlines())


def test_a_log_goes_on_after_its_directory_was_removed(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log" / "engine.log")
    log.write(b"before\n")
    shutil.rmtree(log.path.parent)
    log.write(b"after\n")
    assert log.path.read_text().endswith(" after\n")
    assert log.path.parent.stat().st_mode & 0o077 == 0
