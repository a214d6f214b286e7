"""Where a unix socket can be: the kernel takes no path longer than 107 bytes (103 on macOS)."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

from openfall.workers.local.errors import LocalError

_LONGEST = 100


def socket_path(data: Path, runtime: Path | None = None) -> tuple[Path, str]:
    """The path of the socket for this data directory, and a remark if it is not in it.

    One that would be too long goes into a private directory under `runtime` (by default /tmp), named by the data
    directory, so that every start finds the same. Not under /run/user: that is emptied when its user logs out.
    """
    here = data / "valkey.sock"
    if _fits(here):
        return here, ""
    roof = runtime or Path("/tmp")
    place = _private(roof / f"openfall-{os.getuid()}-{blake2b(bytes(data), digest_size=6).hexdigest()}")
    there = place / "valkey.sock"
    if not _fits(there):
        raise LocalError(f"{there} is too long for a unix socket, and so is {here}. Choose a shorter data directory.")
    return there, f"The path of {data} is too long for a unix socket: the socket is {there}."


def _fits(path: Path) -> bool:
    return len(bytes(path)) <= _LONGEST


def _private(directory: Path) -> Path:
    """The directory, ours alone. In a shared place somebody may have made it before us: then it is refused."""
    directory.mkdir(mode=0o700, exist_ok=True)
    seen = directory.lstat()
    if directory.is_symlink() or seen.st_uid != os.getuid() or seen.st_mode & 0o077:
        raise LocalError(f"{directory} belongs to somebody else or is open to others. Remove it and start again.")
    return directory
