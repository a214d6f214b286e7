"""File locks. The kernel releases them when their process ends."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from openfall.workers.local.errors import LocalError

_POLL_INTERVAL_S = 0.05


@contextmanager
def only_one(path: Path, what: str) -> Iterator[None]:
    """Hold the lock. `LocalError` names the process that already holds it."""
    file = _open(path)
    try:
        if not _try_lock(file):
            raise LocalError(
                f"{what} already runs here (pid {_holder(file)}, {path}). Stop it first: kill {_holder(file)}"
            )
        _write_holder(file, path)
        yield
    finally:
        os.close(file)


@asynccontextmanager
async def one_at_a_time(path: Path, timeout_s: float) -> AsyncIterator[None]:
    """Hold the lock. Waits up to `timeout_s` for another process to release it, then raises `LocalError`."""
    file, deadline = _open(path), time.monotonic() + timeout_s
    try:
        while not _try_lock(file):
            if time.monotonic() > deadline:
                raise LocalError(f"{path} is held by another process for more than {timeout_s:.0f} s. Try again.")
            await asyncio.sleep(_POLL_INTERVAL_S)
        yield
    finally:
        os.close(file)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # close-on-exec: no child inherits the lock
    except OSError as error:
        raise LocalError(f"the lock {path} cannot be used: {error.strerror}. Remove it and start again.") from None


def _try_lock(file: int) -> bool:
    import fcntl  # not on Windows, where no service starts

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(file: int, path: Path) -> None:
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        raise LocalError(f"{path} cannot be written: {error.strerror}. Make room on its disk.") from None


def _holder(file: int) -> str:
    return os.pread(file, 32, 0).decode(errors="replace").strip() or "unknown"
