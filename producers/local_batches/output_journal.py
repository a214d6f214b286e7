"""The output file of a batch: a journal of results, from which the batch resumes."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

from openfall.producers.errors import BatchFileError, OutputWriteError
from openfall.producers.local_batches.batch_file_lines import (
    INVALID_REQUEST,
    check_regular,
    json_line,
    read_rows,
    write_all,
)


@dataclass(slots=True)
class JournalState:
    """The lines of an output file, by custom id: the row id of an answer, the row id and error code of a failure."""

    answered: dict[str, str] = field(default_factory=dict)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        key = row["custom_id"]
        if row["error"] is None:
            self.answered[key] = str(row["id"])
            self.failed.pop(key, None)
        else:
            self.failed[key] = row["id"], row["error"]["code"]

    @property
    def refused(self) -> dict[str, str]:
        """The row ids of the lines that were not submitted, by custom id. They cost nothing: each run reads the lines
        again."""
        return {id_: row for id_, (row, code) in self.failed.items() if code == INVALID_REQUEST}

    def without(self, answered: Collection[str], failed: Collection[str]) -> JournalState:
        """The same without some answers and some failures."""
        return JournalState(
            {id_: row for id_, row in self.answered.items() if id_ not in answered},
            {id_: row for id_, row in self.failed.items() if id_ not in failed},
        )

    def read(self, file: BinaryIO, path: Path) -> int:
        """Add the rows of a file, without a last one that was cut short. Returns their size in bytes.

        Raises `BatchFileError`.
        """
        size = 0
        for number, row in enumerate(read_rows(file, path), 1):
            try:
                self.add(from_json(row))
            except (ValueError, KeyError, TypeError):
                if row.endswith(b"\n"):
                    raise BatchFileError(
                        f"{path} line {number} is not the result of a batch: name another file"
                    ) from None
                break
            size += len(row)
        return size


class Journal:
    """Reads the output file, then appends to it. Locks it against a second run. A row counts once it is on disk.

    `state` has the rows so far. A row that a crash cut short is removed. Raises `BatchFileError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = JournalState()
        check_regular(path, "OUT")
        try:
            with ExitStack() as on_error:
                self._file = on_error.enter_context(path.open("ab", buffering=0))
                self._lock()
                self._read()
                on_error.pop_all()
        except OSError as error:
            remedy = "" if path.parent.is_dir() else f"Make the directory {path.parent}, or "
            text = f"{path} cannot be used: {error.strerror}. {remedy}name another file with -o."
            raise BatchFileError(text.replace(". name", ". Name")) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows; all are on disk when this returns. Raises `OutputWriteError`, also if the file is no longer at
        its path: rows in a deleted file are lost."""
        rows = list(rows)
        if not rows:
            return
        self._check_place()
        try:
            write_all(self._file, b"".join(map(json_line, rows)))
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputWriteError(
                f"{self.path} cannot be written: {error.strerror}. Its rows are kept, and the jobs go on. "
                "Make room, then run the same command again to resume."
            ) from error
        for row in rows:
            self.state.add(row)

    def _check_place(self) -> None:
        try:
            if os.path.samestat(self.path.stat(), os.fstat(self._file.fileno())):
                return
        except OSError:
            pass
        raise OutputWriteError(
            f"{self.path} was moved, replaced or deleted while the batch ran. The jobs go on. To continue, move it "
            "back, or run the same command without it: it writes the results again that Redis still keeps."
        )

    def remove(self, answered: Collection[str], failed: Collection[str]) -> None:
        """Remove some answers and some failures, so that their lines are submitted again. Replaces the file in one
        step."""
        if not answered and not failed:
            return
        with self.path.open("rb") as file:
            rows = [row for row in read_rows(file, self.path) if not _is_one_of(from_json(row), answered, failed)]
        draft = self.path.with_name(f"{self.path.name}.new")
        try:
            with draft.open("wb") as file:
                file.writelines(rows)
                file.flush()
                os.fsync(file.fileno())
            old, self._file = self._file, draft.open("ab", buffering=0)
            self._lock()
            draft.replace(self.path)
            old.close()
            self.state = self.state.without(answered, failed)
        except OSError as error:
            raise BatchFileError(f"{draft} cannot be written: {error.strerror}. Nothing has changed.") from error

    def _read(self) -> None:
        with self.path.open("rb") as file:
            size = self.state.read(file, self.path)
            file.seek(max(0, size - 1))
            last = file.read(1) if size else b""
        self._file.truncate(size)
        if last not in (b"", b"\n"):
            write_all(self._file, b"\n")

    def _lock(self) -> None:
        try:
            _lock(self._file)
        except BlockingIOError:
            raise BatchFileError(f"another run of this batch is writing {self.path}: let that one go on") from None


def _is_one_of(row: Mapping[str, Any], answered: Collection[str], failed: Collection[str]) -> bool:
    """Whether a row is one of the answers or of the failures."""
    return row["custom_id"] in (answered if row["error"] is None else failed)


def is_written(path: Path) -> bool:
    """Whether a run of a batch writes an output file now."""
    try:
        with path.open("rb") as file:
            _lock(file)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _lock(file: FileIO | BinaryIO) -> None:
    """Raises `BlockingIOError` if another run has locked the file."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def read_journal(path: Path) -> JournalState:
    """The rows of an output file, without changing it; empty when the file does not exist. Raises `BatchFileError`."""
    state = JournalState()
    check_regular(path, "OUT")
    try:
        with path.open("rb") as file:
            state.read(file, path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise BatchFileError(f"{path} cannot be read: {error.strerror}") from error
    return state
