"""Servers of a drill that are killed and started again on the same port, as a real one would come back."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import BenchmarkError, Child, started, wait_for

BOOT = 60.0
"""Seconds a process gets to start on a busy machine."""


def free_port() -> int:
    """A port of the loopback that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Service:
    """A module that serves HTTP on `--port` and says one line when it does. `{start}` in an option is the number of the
    start: what must not be written over."""

    name: str
    module: str
    options: Sequence[str]
    directory: Path
    port: int = field(default_factory=free_port)
    starts: int = 0
    stack: ExitStack = field(default_factory=ExitStack)
    child: Child | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return when it serves."""
        self.starts += 1
        said = self.directory / f"{self.name}-{self.starts}.out"
        options = [option.format(start=self.starts) for option in self.options]
        argv = [sys.executable, "-m", self.module, "--port", str(self.port), *options]
        self.child = self.stack.enter_context(started(argv, said))
        wait_for(lambda: "\n" in said.read_text(), BOOT, f"{self.name} to serve", self.child)

    def kill(self) -> int:
        """SIGKILL; returns its pid when it is gone."""
        if self.child is None:
            raise BenchmarkError(f"{self.name} is not there to be killed")
        pid = self.child.popen.pid
        self.child.popen.send_signal(signal.SIGKILL)
        self.child.popen.wait()
        self.stack.close()
        self.child = None
        return pid
