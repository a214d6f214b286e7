"""Ties a process to the one that started it: it ends when its parent does, however that ends.

`python tether.py PARENT -- COMMAND...` arranges for SIGTERM when PARENT dies, and then becomes COMMAND (same pid).

Linux only (`PR_SET_PDEATHSIG`); elsewhere it only becomes COMMAND, and the next start adopts what was left running.
The kernel watches the *thread* that forked, which is the thread of the event loop: it must live as long as the fleet.
Standard library only, and run as a file, so that it costs 20 ms. It is not a `preexec_fn`: code between fork and exec
can deadlock in a program with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` tied to the calling process."""
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), str(os.getpid()), "--", *argv]


def signal_on_parent_death(parent: int) -> bool:
    """Have this process get SIGTERM when `parent` dies. False: it is dead already."""
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
