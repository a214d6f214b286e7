"""The path of a unix socket. The kernel takes no path longer than 107 bytes (103 on macOS)."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

from openfall.workers.local.errors import LocalError

_MAX_PATH_BYTES = 100


def socket_path(data: Path, runtime: Path | None = None) -> tuple[Path, str]:
    """The path of the socket for this data directory, and a remark if it is outside the directory.

    A path that is too long is replaced by one in a private directory under `runtime` (by default /tmp). Its name comes
    from the data directory, so every start finds the same. /run/user is not used: logging out empties it.
    """
    preferred = data / "valkey.sock"
    if _fits(preferred):
        return preferred, ""
    parent = runtime or Path("/tmp")
    directory = _private(parent / f"openfall-{os.getuid()}-{blake2b(bytes(data), digest_size=6).hexdigest()}")
    path = directory / "valkey.sock"
    if not _fits(path):
        raise LocalError(
            f"{path} is too long for a unix socket, and so is {preferred}. Choose a shorter data directory."
        )
    return path, f"The path of {data} is too long for a unix socket: the socket is {path}."


def _fits(path: Path) -> bool:
    return len(bytes(path)) <= _MAX_PATH_BYTES


def _private(directory: Path) -> Path:
    """The directory, private to this user. `LocalError` if another user made it first."""
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if directory.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise LocalError(f"{directory} belongs to another user or is open to others. Remove it and start again.")
    return directory
