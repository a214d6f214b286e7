"""How a process ended, for people."""

from __future__ import annotations

import signal


def describe_exit(code: int | None) -> str:
    """`killed by SIGKILL` of a negative status, `exit status 3` of any other; None: it is not known."""
    if code is None:
        return "exit status unknown"
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"killed by signal {-code}"
