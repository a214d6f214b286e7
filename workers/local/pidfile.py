"""The record of a running service, for a later start: its process, its owner, its options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openfall.workers.local.private_files import write_private
from openfall.workers.local.process_id import ProcessId, current_process


@dataclass(frozen=True, slots=True)
class PidRecord:
    """A started service: its process, the process that started it, and its options."""

    child: ProcessId
    owner: ProcessId
    options: Mapping[str, Any]

    def orphaned(self) -> bool:
        """Whether no other process supervises it: its owner has ended, or is this process."""
        return self.owner == current_process() or not self.owner.alive()


def write_record(path: Path, child: ProcessId, options: Mapping[str, Any]) -> None:
    """Write the record, with the calling process as the owner."""
    owner = current_process()
    child_fields = {"pid": child.pid, "born": child.born}
    owner_fields = {"owner": owner.pid, "owner_born": owner.born}
    write_private(path, json.dumps({**child_fields, **owner_fields, "options": dict(options)}))


def claim_record(path: Path, child: ProcessId, options: Mapping[str, Any]) -> bool:
    """Become the owner of a service, unless another process owns it. Returns whether this process is the owner."""
    record = read_record(path)
    if record is not None and not record.orphaned():
        return False
    write_record(path, child, options)
    return True


def read_record(path: Path) -> PidRecord | None:
    """The record; None if there is none, or it is unreadable."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        child = ProcessId(int(record["pid"]), str(record["born"]))
        return PidRecord(child, ProcessId(int(record["owner"]), str(record["owner_born"])), dict(record["options"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
