"""The output file of a batch: a journal of results, from which the batch resumes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

from openfall.producers.batch.files import check_regular, json_line, read_rows
from openfall.producers.errors import BatchFileError, OutputWriteError


@dataclass(slots=True)
class JournalState:
    """The lines that an output file has: answered custom ids, and for each failed one its row id and error code."""

    answered: set[str] = field(default_factory=set)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        if row["error"] is None:
            self.answered.add(row["custom_id"])
            self.failed.pop(row["custom_id"], None)
        else:
            self.failed[row["custom_id"]] = row["id"], row["error"]["code"]

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
                self._file = on_error.enter_context(path.open("a+b"))
                self._lock()
                self._read()
                on_error.pop_all()
        except OSError as error:
            raise BatchFileError(f"{path} cannot be used: {error.strerror}. Name another file with -o.") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows; all are on disk when this returns. Raises `OutputWriteError`."""
        rows = list(rows)
        if not rows:
            return
        try:
            self._file.write(b"".join(map(json_line, rows)))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputWriteError(
                f"{self.path} cannot be written: {error.strerror}. Its rows are kept, and the jobs go on. "
                "Make room, then run the same command again to resume."
            ) from error
        for row in rows:
            self.state.add(row)

    def remove_failures(self) -> None:
        """Remove the failed rows, so that their lines are submitted again. Replaces the file in one step."""
        if not self.state.failed:
            return
        self._file.seek(0)
        rows = [row for row in read_rows(self._file, self.path) if from_json(row)["error"] is None]
        draft = self.path.with_name(f"{self.path.name}.new")
        try:
            with draft.open("wb") as file:
                file.writelines(rows)
                file.flush()
                os.fsync(file.fileno())
            old, self._file = self._file, draft.open("a+b")
            self._lock()
            draft.replace(self.path)
            old.close()
            self.state = JournalState(self.state.answered)
        except OSError as error:
            raise BatchFileError(f"{draft} cannot be written: {error.strerror}. Nothing has changed.") from error

    def _read(self) -> None:
        self._file.seek(0)
        size = self.state.read(self._file, self.path)
        self._file.truncate(size)
        self._file.seek(max(0, size - 1))
        if self._file.read(1) not in (b"", b"\n"):
            self._file.write(b"\n")

    def _lock(self) -> None:
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BatchFileError(f"another run of this batch is writing {self.path}: let that one go on") from None


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
