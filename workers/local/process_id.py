"""Identifies a process by more than its pid, which the system may give to another process later."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process: its pid, and its start time in the system's own format."""

    pid: int
    born: str

    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        return self.pid > 0 and _born(self.pid) == self.born


def identify(pid: int) -> ProcessId | None:
    """The process that has this pid now; None if there is none."""
    born = _born(pid)
    return None if born is None else ProcessId(pid, born)


def current_process() -> ProcessId:
    """The calling process."""
    return ProcessId(os.getpid(), _born(os.getpid()) or "")


def _born(pid: int) -> str | None:
    return _born_in_proc(pid) if sys.platform == "linux" else _born_by_ps(pid)


def _born_in_proc(pid: int) -> str | None:
    """Clock ticks since boot: field 22 of /proc/PID/stat, counted after the name, which may hold anything."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]


def _born_by_ps(pid: int) -> str | None:
    listed = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, born = listed.stdout.strip().partition(" ")
    return None if not born or state.startswith("Z") else born.strip()
