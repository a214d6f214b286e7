"""Ends a process when its parent ends, however the parent ends.

`python die_with_parent.py PARENT -- COMMAND...` requests SIGTERM for PARENT's death, then becomes COMMAND (same pid).

Linux only (`PR_SET_PDEATHSIG`). Elsewhere it only becomes COMMAND, and the next start adopts what still runs.
The kernel watches the *thread* that forked. That is the thread of the event loop: it must live as long as the fleet.
The module uses the standard library only and runs as a file, so it costs 20 ms. It is not a `preexec_fn`: code between
fork and exec can deadlock in a program with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` and ends it with the calling process."""
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), str(os.getpid()), "--", *argv]


def signal_on_parent_death(parent: int) -> bool:
    """Send SIGTERM to this process when `parent` dies. Returns False if it is dead already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    return os.getppid() == parent


def main(arguments: Sequence[str]) -> int:
    """Become the command; returns an exit status only if that fails (127, as a shell does)."""
    parent, _, *command = arguments
    if not signal_on_parent_death(int(parent)):
        return 128 + signal.SIGTERM
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # this interpreter ignores it, and exec would pass that on
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
