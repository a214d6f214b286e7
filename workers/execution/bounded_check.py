"""Checks an answer in bounded time.

A pattern such as `^(a+)+$`, or references that branch, can take years, and a list of 10,000 objects takes 0.5 s. So a
check first runs where the answer was read, and a signal interrupts it after `SHORT_SECONDS`. Then it runs again in a
process of its own, with this file as its program, which the system ends at its limits.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, TypeVar

from openfall.router_core.deciding.answer_checks import Validates
from openfall.workers.execution.json_schema import schema_error

Checked = TypeVar("Checked")

SHORT_SECONDS = 0.05
"""CPU time of a check on the event loop."""
LONG_SECONDS = 5
"""CPU time of a check in its process, whose start is part of it."""
MAX_WAIT = 30.0
"""Seconds for the process to end, on a busy machine."""
MAX_BYTES = 2**30
"""The address space of the process."""


class SlowCheck(Exception):
    """A check took longer than it may on the event loop."""


class _Interrupted(BaseException):
    """Raised in the midst of a check; no handler of the library may catch it."""


_may_interrupt = False


def check_briefly(check: Callable[[Validates], Checked]) -> Checked:
    """`check(validates)`. Raises `SlowCheck` after `SHORT_SECONDS` of CPU time.

    Called in the main thread only, where signals arrive. `re` looks for them while it searches.
    """
    global _may_interrupt
    signal.signal(signal.SIGVTALRM, _interrupt)
    try:
        try:
            _may_interrupt = True
            signal.setitimer(signal.ITIMER_VIRTUAL, SHORT_SECONDS, SHORT_SECONDS)  # again, if a finalizer swallows it
            return check(schema_error)
        finally:
            _may_interrupt = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except _Interrupted:
        _may_interrupt = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        raise SlowCheck from None


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if _may_interrupt:
        raise _Interrupted


def long_schema_error(schema: Any, value: Any, seconds: int = LONG_SECONDS) -> str | None:
    """As `schema_error`, in a process of its own. Blocks the calling thread for up to `MAX_WAIT` seconds."""
    argv = [sys.executable, "-P", "-m", __spec__.name, str(seconds)]
    data = json.dumps([schema, value]).encode()
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(argv, input=data, capture_output=True, timeout=MAX_WAIT, check=False)
        if done.returncode == 0:
            error: str | None = json.loads(done.stdout)
            return error
    return (
        f"the check takes more than {seconds} s or 1 GB: the patterns and references of the schema must be simpler, or "
        "the answer shorter"
    )


def main() -> None:
    """Read `[schema, value]` from stdin, and write the error or null to stdout, both as JSON."""
    seconds = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    json.dump(schema_error(*json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
