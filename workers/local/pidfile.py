"""What is written down about a running part, so that a later start finds it: its process, its owner, its options."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openfall.workers.local.process_id import ProcessId, myself


@dataclass(frozen=True, slots=True)
class PidRecord:
    """A part that was started: its process, the process that started it, and the options it was started with."""

    child: ProcessId
    owner: ProcessId
    asked: Mapping[str, Any]

    def orphaned(self) -> bool:
        """Whether nobody else looks after it: its owner is gone, or is us."""
        return self.owner == myself() or not self.owner.alive()


def write_record(path: Path, child: ProcessId, asked: Mapping[str, Any]) -> None:
    """Write it down with the calling process as the owner."""
    mine = myself()
    told = {"pid": child.pid, "born": child.born, "owner": mine.pid, "owner_born": mine.born, "asked": dict(asked)}
    write_private(path, json.dumps(told))


def read_record(path: Path) -> PidRecord | None:
    """What was written; None if nothing was, or nothing readable."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        child = ProcessId(int(told["pid"]), str(told["born"]))
        return PidRecord(child, ProcessId(int(told["owner"]), str(told["owner_born"])), dict(told["asked"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_private(path: Path, text: str) -> None:
    """Put `text` there in one step, readable by its owner alone from the first moment."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def make_private(directory: Path) -> Path:
    """The directory as an absolute path, made with mode 0700 if it was not there; one that exists keeps its mode."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory.resolve()
