"""Directories and files of this user alone: where others may write, nothing is kept."""

from __future__ import annotations

import os
from pathlib import Path

from openfall.workers.local.errors import LocalError


def write_private(path: Path, text: str) -> None:
    """Write `text` in one step. Only its owner can read it, from the first moment."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise LocalError(f"{path} cannot be written: {error.strerror}. Make room, or move it away.") from None


def make_private(directory: Path) -> Path:
    """The directory as an absolute path, made with mode 0700 if it does not exist.

    `LocalError` if it cannot be used, belongs to another user, or others may write to it: they could replace its files.
    """
    other = "name another one (`data:` in the configuration)."
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
        usable = os.access(directory, os.R_OK | os.W_OK | os.X_OK)
    except (FileExistsError, NotADirectoryError) as error:
        raise LocalError(f"{error.filename or directory} is not a directory. Move it away, or {other}") from None
    except OSError as error:
        raise LocalError(f"the directory {directory} cannot be used: {error.strerror}. {other.capitalize()}") from None
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        raise LocalError(
            f"the directory {directory} belongs to another user (uid {status.st_uid}). Run openfall as that user, or "
            f"{other}"
        )
    if not usable:
        raise LocalError(f"the directory {directory} cannot be read and written. Run: chmod 700 {directory}")
    if status.st_mode & 0o022:
        raise LocalError(
            f"other users may write to the directory {directory} (mode {status.st_mode & 0o7777:04o}), so they could "
            f"replace the jobs in it. If its files are yours, run: chmod 700 {directory}"
        )
    return directory.resolve()
