"""Checks an answer in bounded time.

A pattern such as `^(a+)+$`, or references that branch, can take years, and a list of 10,000 objects takes 0.5 s. So a
check first runs where the answer was read, and a signal interrupts it after `SHORT_SECONDS`. Then it runs again in a
thread, and its schemas are validated in a process, with this file as its program, which the system ends at its limits.
"""

from __future__ import annotations

import gc
import json
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from openfall.workers.execution.json_schema import schema_error

if TYPE_CHECKING:  # what the process does not import need not be read at its start
    from openfall.router_core.deciding.answer_checks import Validates

Checked = TypeVar("Checked")

SHORT_SECONDS = 0.05
"""CPU time of a check on the event loop."""
LONG_SECONDS = 5
"""CPU time of the process that validates all schemas of a check; its start is part of it."""
MAX_WAIT = 30.0
"""Seconds for the process to end, on a busy machine."""
MAX_BYTES = 2**30
"""The address space of the process."""


class SlowCheck(Exception):
    """A check took longer than it may on the event loop."""


class UnfinishedCheck(Exception):
    """The process of a check did not start, or has ended before the check. The message says what to change."""


class _Interrupted(BaseException):
    """Raised in the midst of a check; no handler of the library may catch it."""


_may_interrupt = False


def check_briefly(check: Callable[[Validates], Checked]) -> Checked:
    """`check(validates)`. Raises `SlowCheck` after `SHORT_SECONDS` of CPU time.

    Called in the main thread only, where signals arrive. `re` looks for them while it searches. The garbage collector
    waits: Python only prints an exception that is raised in a finalizer, or in a callback of the collector.
    """
    global _may_interrupt
    signal.signal(signal.SIGVTALRM, _interrupt)
    collects = gc.isenabled()
    gc.disable()
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
    finally:
        if collects:
            gc.enable()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if _may_interrupt:
        raise _Interrupted


def check_at_length(check: Callable[[Validates], Checked], seconds: int = LONG_SECONDS) -> Checked:
    """`check(validates)`, for up to `MAX_WAIT` seconds, which block the calling thread. Raises `UnfinishedCheck`."""
    with _validator_process(seconds) as process:

        def validates(schema: Any, value: Any) -> str | None:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError):  # it has ended, and so has its output
                process.stdin.write(json.dumps([schema, value]).encode() + b"\n")
                process.stdin.flush()
            if not (line := process.stdout.readline()):
                raise UnfinishedCheck(
                    f"the check takes more than {seconds} s or 1 GB: the patterns and references of the schema must be "
                    "simpler, or the answer shorter"
                )
            error: str | None = json.loads(line)
            return error

        return check(validates)


@contextmanager
def _validator_process(seconds: int) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-P", "-m", __spec__.name, str(seconds)]
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
    except OSError as error:
        raise UnfinishedCheck(f"the process of the check cannot start on this machine: {error.strerror}") from error
    end = threading.Timer(MAX_WAIT, process.kill)
    end.start()
    try:
        yield process
    finally:
        end.cancel()
        process.kill()
        process.communicate()


def main() -> None:
    """For each line `[schema, value]` of stdin, write a line with the error or null to stdout, both as JSON.

    A signal that stops a worker may be for all its processes, as Ctrl-C is. The worker first ends its jobs.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _limit(resource.RLIMIT_CPU, int(sys.argv[1]))
    _limit(resource.RLIMIT_AS, MAX_BYTES)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(schema_error(*json.loads(line))) + "\n")
        sys.stdout.flush()


def _limit(kind: int, amount: int) -> None:
    """Lower a limit of this process. One that is lower already stays: no process may raise it. macOS may refuse a limit
    of the address space: then the CPU time alone is limited."""
    _, hard = resource.getrlimit(kind)
    amount = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
    with suppress(ValueError):
        resource.setrlimit(kind, (amount, amount))


if __name__ == "__main__":
    main()
