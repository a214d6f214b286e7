"""A worker of pytest-xdist: forked from a process that has imported openfall, with a fork server of its own.

pytest-xdist starts a worker with `python -c CODE`. After `fork_workers` it is `python -m tests.xdist_process -c CODE`.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tests.fork_server import ForkServer

if TYPE_CHECKING:
    import execnet

SERVER = ForkServer()
"""The fork server of this process. A worker of xdist forks it at its start, while it has one thread."""


def fork_workers(specs: Iterable[execnet.XSpec]) -> None:
    """Let pytest-xdist fork its workers."""
    if sys.platform == "linux":
        for spec in specs:
            spec.python = shlex.join([sys.executable, "-m", __name__])


def main(code: str) -> None:
    """Be a worker of pytest-xdist: run the `code` that connects it."""
    SERVER.fork()
    exec(code, {"__name__": "__main__"})


if __name__ == "__main__":
    from tests import xdist_process  # the module that conftest.py imports later

    xdist_process.main(sys.argv[-1])
