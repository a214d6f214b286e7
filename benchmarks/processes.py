"""Child processes of a benchmark: started, waited for, measured from /proc, and surely ended."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""Where `benchmarks` and the product are imported from."""

TERM_TIMEOUT_S = 1.0
"""Seconds a child gets to end by itself after SIGTERM."""

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class BenchmarkError(RuntimeError):
    """A part of a benchmark failed; the message names it and quotes its last line."""


@dataclass(frozen=True)
class Child:
    """A process of ours and the file that its output goes to."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def last_output(self) -> str:
        """The last line of its output."""
        return last_line(self.log.read_text(errors="replace"))


@dataclass(frozen=True)
class Usage:
    """What a process and all below it have used: CPU seconds (its dead children included), bytes resident now."""

    cpu_seconds: float
    rss: int
    processes: int


def last_line(text: str) -> str:
    """The last line that is not blank: of a traceback, the error."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "nothing")


@contextmanager
def started(argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Iterator[Child]:
    """Run a command in a session of its own; it and its children are gone when the block ends."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(env or {})}
    with log.open("ab") as output:
        popen = subprocess.Popen(
            argv,
            env=environ,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    try:
        yield Child(popen, log)
    finally:
        _end(popen)


def die_with_parent() -> None:
    """Linux ends the child when this process is killed and cannot do it itself."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(popen: subprocess.Popen[bytes]) -> None:
    """SIGTERM and a wait for the process, then SIGKILL for whatever is left of its session."""
    with suppress(ProcessLookupError):
        popen.terminate()
    with suppress(subprocess.TimeoutExpired):
        popen.wait(TERM_TIMEOUT_S)
    with suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGKILL)
    popen.wait()


def wait_for(ready: Callable[[], bool], seconds: float, what: str, child: Child) -> None:
    """Return when `ready()` is true; `BenchmarkError` when the child ends or the time is over before that."""
    end = time.monotonic() + seconds
    while not ready():
        if child.popen.poll() is not None:
            raise BenchmarkError(f"waited for {what}, but the process ended: {child.last_output}")
        if time.monotonic() > end:
            raise BenchmarkError(f"waited {seconds:.0f} s for {what}. Its last output: {child.last_output}")
        time.sleep(0.01)


def usage(pid: int) -> Usage:
    """What a process and its live descendants use, from /proc. A process that ends meanwhile counts as nothing."""
    cpu, rss, count = 0.0, 0, 0
    for member in _tree(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            cpu += sum(map(int, fields[11:15])) / _TICK
            rss += int(fields[21]) * _PAGE
            count += 1
    return Usage(cpu, rss, count)


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in task.read_text().split():
                yield from _tree(int(child))
