"""Who may start what: locks that the kernel drops with the process that holds them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from openfall.workers.local.errors import LocalError

_POLL = 0.05


@contextmanager
def only_one(path: Path, what: str) -> Iterator[None]:
    """Hold the lock, or fail with `LocalError` that names the process which holds it."""
    file = _open(path)
    try:
        if not _taken(file):
            raise LocalError(
                f"{what} already runs here (pid {_holder(file)}, {path}). Stop it first: kill {_holder(file)}"
            )
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)


@asynccontextmanager
async def one_at_a_time(path: Path, patience: float) -> AsyncIterator[None]:
    """Hold the lock; wait for whoever holds it for up to `patience` seconds, then `LocalError`."""
    file, deadline = _open(path), time.monotonic() + patience
    try:
        while not _taken(file):
            if time.monotonic() > deadline:
                raise LocalError(f"{path} is held by another process for more than {patience:.0f} s. Try again.")
            await asyncio.sleep(_POLL)
        yield
    finally:
        os.close(file)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # close-on-exec: no child inherits the lock


def _taken(file: int) -> bool:
    import fcntl  # not on Windows, where nothing here is started

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: int) -> str:
    return os.pread(file, 32, 0).decode(errors="replace").strip() or "unknown"
