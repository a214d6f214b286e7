"""Whether a program still has a file open for writing: what it wrote may be half, although it is a valid file."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def is_open_for_writing(path: Path) -> bool:
    """Whether another program has the file open for writing now. False too where the system does not tell: only Linux
    does, on a local disk, to the owner of the file.

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
        return True
    except OSError:  # the file is another user's, or its file system has no leases
        return False
    finally:
        os.close(descriptor)
    return False
