"""`python -m tests.process_state [STATUS]`: what a program reads of its own process at its start, as JSON. With `up`
it starts a second process as the supervisor of a fleet does, and the second one prints it."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

from openfall.workers.local.die_with_parent import die_with_parent

_PR_GET_PDEATHSIG = 2  # linux/prctl.h


def read_state() -> dict[str, Any]:
    with open("/proc/self/cmdline", encoding="utf-8") as command:
        shown = command.read().rstrip("\0").split("\0")
    umask, signal_at_end_of_parent = os.umask(0), ctypes.c_int()
    ctypes.CDLL(None).prctl(_PR_GET_PDEATHSIG, ctypes.byref(signal_at_end_of_parent), 0, 0, 0)
    streams = [
        (
            stream.fileno(),
            stream.encoding,
            stream.errors,
            stream.line_buffering,
            stream.write_through,
            stream.seekable(),
        )
        for stream in (sys.stdin, sys.stdout, sys.stderr)
    ]
    handlers = {int(number): str(signal.getsignal(number)).split(" at ")[0] for number in signal.valid_signals()}
    return {
        "name": __name__, "argv": sys.argv, "orig_argv": sys.orig_argv[-2:], "shown": shown[-2:], "umask": umask,
        "path": sys.path, "directory": os.getcwd(), "environment": dict(os.environ), "streams": streams,
        "descriptors": sorted(os.listdir("/proc/self/fd")), "threads": threading.active_count(), "handlers": handlers,
        "ignored": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "session": os.getsid(0) == os.getpid(),
        "group": os.getpgid(0) == os.getpid(), "parent": os.getppid(), "collects": gc.isenabled(),
        "warnings": sys.warnoptions, "writes_bytecode": not sys.dont_write_bytecode, "input": sys.stdin.read(),
        "imported": "openfall.workers.process" in sys.modules, "signal_at_end": signal_at_end_of_parent.value,
    }  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:] == ["up"]:
        sys.exit(subprocess.run(die_with_parent([sys.executable, "-m", "tests.process_state", "0"])).returncode)
    sys.stdout.write(json.dumps(read_state()))
    sys.exit(int(sys.argv[1]) if sys.argv[1:] else 0)
