"""Finished answers that Redis was not there to take: kept on disk, delivered when it is back. None is bought twice."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from openfall.router_core.state.settlement import Settlement


class UnreadableSpool(ValueError):
    """A file in the spool is not one of ours, or is torn."""


@dataclass(frozen=True, slots=True)
class Spool:
    """A directory of settles, one a file. Any worker on this host may deliver any of them: a settle bears repeating."""

    directory: Path

    def keep(self, settle: Settlement) -> Path:
        """Write it down, synced, readable by its owner alone (it holds an answer). Blocks: call it in a thread."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.directory / f"{settle.id}.{settle.token}.json"
        draft = path.with_suffix(f".draft-{os.getpid()}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(
                orjson.dumps(
                    {
                        "id": settle.id,
                        "token": settle.token,
                        "args": [base64.b64encode(arg).decode() for arg in settle.args],
                    }
                )
            )
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        handle = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        return path

    def pending(self) -> Iterator[Path]:
        """The settles that wait, oldest first."""
        if not self.directory.is_dir():
            return
        yield from sorted(self.directory.glob("*.json"), key=_written)

    def read(self, path: Path) -> Settlement | None:
        """One settle; None when another worker has just delivered it; `UnreadableSpool` when it is none."""
        try:
            told = orjson.loads(path.read_bytes())
            return Settlement(told["id"], told["token"], tuple(base64.b64decode(arg) for arg in told["args"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableSpool(f"{path}: {error}") from error

    def drop(self, path: Path) -> None:
        """It is delivered."""
        path.unlink(missing_ok=True)

    def set_aside(self, path: Path) -> Path:
        """Keep an unreadable file out of the way, for a person to look at."""
        aside = path.with_suffix(".unreadable")
        if path.exists():
            path.rename(aside)
        return aside


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
