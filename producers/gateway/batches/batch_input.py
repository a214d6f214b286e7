"""The input of a batch: kept in its folder, validated once, then read line by line by index. It blocks: call it in a
thread."""

from __future__ import annotations

import codecs
import os
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from openfall.producers.errors import BatchFileError
from openfall.producers.gateway.file_directory import sync_directory
from openfall.producers.local_batches.batch_file_lines import read_rows
from openfall.router_core.batch_rules.batch_line_format import DUPLICATE, LineProblem, ParsedLine, parse_batch_line

MAX_PROBLEMS = 100
_DIGEST_BYTES = 12
_MAX_MESSAGE = 500

Check = Callable[[ParsedLine], LineProblem | None]


class InputMissing(Exception):
    """The input of a batch is gone from the disk."""


def batch_folder(directory: Path, batch_id: str) -> Path:
    return directory / "batches" / batch_id


def input_path(folder: Path) -> Path:
    """The lines of a batch. Raises `InputMissing`."""
    path = folder / "input.jsonl"
    if not path.is_file():
        raise InputMissing(f"{path} is gone: create the batch again")
    return path


def take_input(directory: Path, batch_id: str, source: Path) -> None:
    """Keep the input of a batch, also when its file is deleted. Idempotent. Raises `OSError`."""
    folder = batch_folder(directory, batch_id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "input.jsonl"
    if not path.exists():
        part = folder / "input.part"
        part.unlink(missing_ok=True)
        try:
            os.link(source, part)
        except OSError:  # a file system without links
            shutil.copyfile(source, part)
            part.chmod(0o600)
        os.replace(part, path)
    for each in (folder, folder.parent, directory):
        sync_directory(each)


@dataclass(slots=True)
class InputLines:
    """The lines of a file that are not blank, by their offsets."""

    path: Path
    offsets: array[int] = field(default_factory=lambda: array("Q"))

    def __len__(self) -> int:
        return len(self.offsets)

    @classmethod
    def scan(cls, path: Path) -> InputLines:
        """The lines of a file that was validated before."""
        lines = cls(path)
        lines.offsets.extend(offset for _, offset, _ in _rows(path))
        return lines

    def read(self, indexes: Iterable[int]) -> list[bytes]:
        """The lines with these indexes."""
        with self.path.open("rb") as file:
            rows = []
            for index in indexes:
                file.seek(self.offsets[index])
                rows.append(file.readline().removeprefix(codecs.BOM_UTF8))
            return rows


@dataclass(slots=True)
class Validation:
    """What validating a file has shown. `problems`: at most `MAX_PROBLEMS`, in OpenAI's form."""

    lines: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)

    def add(self, problem: LineProblem, number: int | None = None) -> None:
        known = asdict(problem)
        del known["custom_id"]
        self.problems.append({**known, "message": known["message"][:_MAX_MESSAGE], "line": number})

    @property
    def is_over(self) -> bool:
        return len(self.problems) >= MAX_PROBLEMS


def validate(path: Path, urls: tuple[str, ...], max_lines: int, check: Check) -> Validation:
    """Read every line of a file. `check` finds what else is wrong with a line."""
    validation = Validation()
    custom_ids: set[bytes] = set()
    try:
        for number, _, row in _rows(path):
            validation.lines += 1
            if validation.lines > max_lines:
                validation.add(LineProblem("too_many_tasks", f"the file has more than {max_lines:,} requests"))
                break
            line = parse_batch_line(row, urls)
            if isinstance(line, ParsedLine):
                line = _check_unique(line, custom_ids) or check(line) or line
            if isinstance(line, LineProblem):
                validation.add(line, number)
            if validation.is_over:
                break
    except BatchFileError as error:
        validation.add(LineProblem("invalid_json_line", str(error)))
    if not validation.lines and not validation.problems:
        validation.add(LineProblem("empty_file", "the file has no request"))
    return validation


def _check_unique(line: ParsedLine, custom_ids: set[bytes]) -> LineProblem | None:
    """Digests of equal length, not the ids: 400,000 long ones would take a part of the memory of the gateway."""
    digest = blake2b(line.custom_id.encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES).digest()
    if digest in custom_ids:
        return LineProblem(DUPLICATE, f"custom_id {line.custom_id[:80]!r} is used in an earlier line", "custom_id")
    custom_ids.add(digest)
    return None


def _rows(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """The lines that are not blank: number from 1, offset, text. Raises `BatchFileError`."""
    offset = 0
    with path.open("rb") as file:
        for number, row in enumerate(read_rows(file, "the file"), 1):
            if (text := row.removeprefix(codecs.BOM_UTF8)).strip():
                yield number, offset, text
            offset += len(row)
