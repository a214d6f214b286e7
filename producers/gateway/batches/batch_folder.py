"""The folder of a batch while it runs, and the files of results that it leaves."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from openfall.producers.gateway.file_directory import sync_directory

if TYPE_CHECKING:
    pass


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
