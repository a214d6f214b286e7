"""Whether a program still has a file open for writing: half a file may be valid, too."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3"})
"""Kinds of file systems that refuse the lease of a file that no program writes: their server decides about it."""


def is_open_for_writing(path: Path) -> bool:
    """Whether another program has the file open for writing now. False too where that is unknown: only Linux says it,
    on a local disk, to the owner of the file.

    The kernel refuses a read lease of such a file (fcntl(2), F_SETLEASE). A granted lease ends here at once. A program
    that opens the file in that moment makes the kernel send a signal: SIGURG, which does nothing, in place of SIGIO,
    which would end this process.
    """
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return not is_on_network(os.fstat(descriptor).st_dev)
    except OSError:  # the file is another user's, or its file system has no leases
        return False
    finally:
        os.close(descriptor)
    return False


def is_on_network(device: int, mounts: Path = _MOUNTS) -> bool:
    """Whether a device (`st_dev` of a file) is a file system of another machine. `mounts`: proc_pid_mountinfo(5)."""
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        rows = [line.split() for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return False
    return any(row[2] == number and row[row.index("-") + 1] in _NETWORK for row in rows)
