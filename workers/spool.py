"""Keeps settlements on disk while Redis is away, and delivers them later: no answer is paid for twice."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from openfall.router_core.state.settlement import Settlement


class UnreadableSpool(ValueError):
    """A file in the spool is damaged, or is not a settlement."""


@dataclass(frozen=True, slots=True)
class Spool:
    """A directory with one file per settlement. Any worker of this host may deliver any: settling is idempotent."""

    directory: Path

    def write(self, settlement: Settlement) -> Path:
        """Write and sync a file that only its owner can read: it contains an answer. Blocks: call it in a thread."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.directory / f"{settlement.id}.{settlement.token}.json"
        args = [base64.b64encode(arg).decode() for arg in settlement.args]
        draft = path.with_suffix(f".draft-{os.getpid()}")
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(orjson.dumps({"id": settlement.id, "token": settlement.token, "args": args}))
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
        except OSError:  # a full disk: half a file takes room, too
            draft.unlink(missing_ok=True)
            raise
        handle = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        return path

    def remove_drafts(self) -> int:
        """Remove drafts of processes that are gone: a full disk or a crash left them torn. Returns how many."""
        drafts = [path for path in self.directory.glob("*.draft-*") if not _is_running(path.suffix)]
        for path in drafts:
            path.unlink(missing_ok=True)
        return len(drafts)

    def pending(self) -> Iterator[Path]:
        """The files that wait, oldest first."""
        if not self.directory.is_dir():
            return
        yield from sorted(self.directory.glob("*.json"), key=_modified_at)

    def read(self, path: Path) -> Settlement | None:
        """One settlement; None if another worker has just delivered it. Raises `UnreadableSpool`."""
        try:
            fields = orjson.loads(path.read_bytes())
            return Settlement(fields["id"], fields["token"], tuple(base64.b64decode(arg) for arg in fields["args"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableSpool(f"{path}: {error}") from error

    def remove(self, path: Path) -> None:
        """Remove a delivered file."""
        path.unlink(missing_ok=True)

    def quarantine(self, path: Path) -> Path:
        """Rename an unreadable file, so that a person can examine it."""
        quarantined = path.with_suffix(".unreadable")
        if path.exists():
            path.rename(quarantined)
        return quarantined


def _is_running(suffix: str) -> bool:
    """Whether the process that writes a draft runs. Another process may have its number by now: then it stays."""
    number = suffix.rpartition("-")[2]
    if not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return int(number) != os.getpid()


def _modified_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
