"""The journal of a batch on the disk. All of it blocks: call it in a thread.

Each claim of a runner writes a journal of its own, which begins as a copy of that before it. So a runner that was
frozen, and goes on after it has lost its batch, writes into a file that no runner reads any more.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path

from openfall.producers.gateway.file_directory import open_private, sync_directory
from openfall.producers.local_batches.batch_file_lines import MAX_LINE_BYTES, write_all
from openfall.router_core.batch_rules.journal_row_format import JournalRow, LineEnd, read_journal_row
from openfall.router_core.batch_rules.line_tokens import LineTokens

_NAME = re.compile(r"journal\.(\d+)(\.part)?")
_COPY_BYTES = 2**20


class BatchJournal:
    """The ends of the lines of a batch. A line counts once its row is on the disk."""

    def __init__(self, folder: Path, claim: int, lines: int) -> None:
        self._folder, self._claim, self._lines = folder, claim, lines
        self._path = folder / f"journal.{claim}"
        self._file: FileIO | None = None
        self._size = 0
        self._lock = threading.Lock()
        self._is_closed = False
        self.has_end = bytearray(lines)
        """By the index of a line: 1 if it has an end."""
        self.ends: Counter[LineEnd] = Counter()
        self.tokens: LineTokens | None = None
        """Of all lines; None: no line reports any."""

    @property
    def rest(self) -> int:
        """The lines without an end."""
        return self._lines - self.ends.total()

    def open(self) -> None:
        """Take over the whole rows of the journal before. Raises `OSError`."""
        with self._lock:
            if not self._is_closed:
                self._take_over()

    def _take_over(self) -> None:
        complete, cut_off = self._earlier()
        part = self._path.with_name(f"{self._path.name}.part")
        with open_private(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as copy:
            gathered: list[bytes] = []
            for row in _whole_rows(max(complete.items())[1], self._lines) if complete else ():
                if not self.has_end[row.index]:
                    self._count(row)
                    gathered.append(row.packed())
                if len(gathered) >= 256:
                    write_all(copy, b"".join(gathered))
                    gathered.clear()
            write_all(copy, b"".join(gathered))
            os.fsync(copy.fileno())
            self._size = os.fstat(copy.fileno()).st_size
        os.replace(part, self._path)
        sync_directory(self._folder)
        self._file = FileIO(os.open(self._path, os.O_WRONLY | os.O_APPEND), "ab")
        for path in (*complete.values(), *cut_off):
            path.unlink(missing_ok=True)

    def add(self, rows: Iterable[JournalRow]) -> None:
        """Write the ends of lines that have none; they are on the disk when this returns.

        Raises `OSError`: then none of them is there, and it can be tried again, unless the journal is closed."""
        with self._lock:
            new = {row.index: row for row in rows if not self.has_end[row.index]}
            if not new:
                return
            if self._file is None:
                raise OSError("the journal is closed")
            data = b"".join(row.packed() for row in new.values())
            try:
                write_all(self._file, data)
                os.fsync(self._file.fileno())
            except OSError:
                self._cut_back()
                raise
            self._size += len(data)
            for row in new.values():
                self._count(row)

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def _cut_back(self) -> None:
        """Remove a row that was written in part: what followed it would be lost with it."""
        assert self._file is not None
        try:
            self._file.truncate(self._size)
        except OSError:
            self._file.close()
            self._file = None

    def close(self) -> None:
        """Waits for what is being written. A cancelled `open` may come later than this."""
        with self._lock:
            self._is_closed = True
            if self._file is not None:
                self._file.close()
            self._file = None

    def split(self, outputs: Path, errors: Path | None) -> None:
        """Write the files of results, synced: those that succeeded, and the others. Without `errors` all go into one.

        Raises `OSError`."""
        with contextlib.ExitStack() as stack:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            output = stack.enter_context(_Gathered(open_private(outputs, flags)))
            error = stack.enter_context(_Gathered(open_private(errors, flags))) if errors else output
            for row in _whole_rows(self._path, self._lines):
                (output if row.end is LineEnd.SUCCEEDED else error).add(row.json + b"\n")

    def _count(self, row: JournalRow) -> None:
        self.has_end[row.index] = 1
        self.ends[row.end] += 1
        if row.tokens is not None:
            self.tokens = row.tokens.plus(self.tokens or LineTokens())

    def _earlier(self) -> tuple[dict[int, Path], list[Path]]:
        """The journals of earlier claims by their numbers, and those whose copy was cut off."""
        complete: dict[int, Path] = {}
        cut_off: list[Path] = []
        for path in self._folder.iterdir():
            match = _NAME.fullmatch(path.name)
            if match is None or int(match[1]) >= self._claim:
                continue
            if match[2]:
                cut_off.append(path)
            else:
                complete[int(match[1])] = path
        return complete, cut_off


class _Gathered:
    """A file whose small writes are gathered. It is synced when it is closed without an error."""

    def __init__(self, file: FileIO) -> None:
        self._file, self._rows, self._bytes = file, list[bytes](), 0

    def __enter__(self) -> _Gathered:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
                os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def add(self, row: bytes) -> None:
        self._rows.append(row)
        self._bytes += len(row)
        if self._bytes >= _COPY_BYTES:
            self._flush()

    def _flush(self) -> None:
        write_all(self._file, b"".join(self._rows))
        self._rows, self._bytes = [], 0


def _whole_rows(path: Path, lines: int) -> Iterator[JournalRow]:
    """The rows up to the first that was cut short: those behind it were never synced."""
    with path.open("rb") as file:
        while row := file.readline(MAX_LINE_BYTES):
            parsed = read_journal_row(row, lines)
            if parsed is None:
                return
            yield parsed
