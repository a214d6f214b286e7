"""Where the log of this process is, for the people who look for it after the process has died."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

LOG_VARIABLE = "OPENFALL_LOG"
"""The file in which the parent of a process keeps its output."""
CGROUPS = Path("/proc/self/cgroup")
CONTAINER_MARK = Path("/.dockerenv")


def log_place(
    environ: Mapping[str, str],
    host: str,
    descriptor: int = 2,
    cgroups: Path = CGROUPS,
    container_mark: Path = CONTAINER_MARK,
) -> str:
    """The file with the standard error of this process, or the command that shows it. Empty: a terminal, or unknown."""
    if file := environ.get(LOG_VARIABLE):
        return file
    if _is_journal(environ.get("JOURNAL_STREAM", ""), descriptor):
        return f"journalctl --unit {_unit(cgroups)} _PID={os.getpid()}"
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return _path_of(descriptor)
    if "KUBERNETES_SERVICE_HOST" in environ:
        return f"kubectl logs --previous {host}"
    return f"docker logs {host}" if container_mark.exists() else ""


def _is_journal(stream: str, descriptor: int) -> bool:
    """Whether the descriptor is the stream to the journal that systemd names by its device and inode."""
    file = os.fstat(descriptor)
    return stream == f"{file.st_dev}:{file.st_ino}"


def _unit(cgroups: Path) -> str:
    """The unit of systemd to which this process belongs."""
    try:
        names = cgroups.read_text().replace("/", "\n").split()
    except OSError:
        names = []
    return next((name for name in reversed(names) if name.endswith(".service")), "'openfall-work@*'")


def _path_of(descriptor: int) -> str:
    """The path of an open file; empty where the system does not say it."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""
