"""The directory of the gateway's files on this host. All of it blocks: call it in a thread."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from openfall.producers.gateway.error_table import Refusal

log = logging.getLogger("openfall.gateway")

_ID_FILE = "directory-id"
_PART = ".part"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def new_file_id() -> str:
    return f"file-{secrets.token_hex(12)}"


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Errors of the disk become refusals: a full disk says so."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        log.warning("a file of the gateway cannot be written: %s", error)
        if error.errno in _FULL:
            raise Refusal("disk_full", f"the gateway's disk takes no more data ({reason}): nothing was kept") from error
        raise Refusal("disk_full", f"the gateway cannot write its files ({reason}): nothing was kept") from error


class FileDirectory:
    """Files by their ids, readable by their owner only. `id` names the directory: gateways that share it have one
    id."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._id = ""

    @property
    def id(self) -> str:
        """Makes the directory when it is first used. Raises `OSError`."""
        if not self._id:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._id = self._read_id() or self._write_id()
        return self._id

    def data(self, file_id: str) -> Path:
        """Where the data of a file is."""
        return self.path / _checked(file_id)

    def part(self, file_id: str) -> Path:
        """Where it is while it arrives."""
        return self.path / f"{_checked(file_id)}{_PART}"

    def open_part(self, file_id: str) -> FileIO:
        return open_private(self.part(file_id), os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    def complete(self, file_id: str) -> None:
        """The part is written: its data stays, whatever happens to this machine."""
        os.replace(self.part(file_id), self.data(file_id))
        sync_directory(self.path)

    def remove(self, file_id: str) -> None:
        for path in (self.part(file_id), self.data(file_id)):
            path.unlink(missing_ok=True)

    def _read_id(self) -> str:
        try:
            return (self.path / _ID_FILE).read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return ""

    def _write_id(self) -> str:
        """Several gateways may start at once: the first link counts."""
        draft = self.path / f"{_ID_FILE}.{secrets.token_hex(8)}{_PART}"
        with open_private(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
            file.write(secrets.token_hex(8).encode())
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, self.path / _ID_FILE)
        draft.unlink()
        sync_directory(self.path)
        return self._read_id()


def open_private(path: Path, flags: int) -> FileIO:
    """A file that only its owner may read."""
    return FileIO(os.open(path, flags, 0o600), "rb" if flags & 3 == os.O_RDONLY else "wb")


def sync_directory(path: Path) -> None:
    """Keep the names in a directory through a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checked(file_id: str) -> str:
    if not _ID.fullmatch(file_id):
        raise ValueError(file_id)
    return file_id
