"""A configuration that comes through a pipe: `--config <(...)`, /dev/stdin, a named pipe."""

from __future__ import annotations

import errno
import logging
import os
import select
import stat
from pathlib import Path
from typing import BinaryIO

from openfall.config.errors import ConfigError, ConfigProblem

log = logging.getLogger("openfall.config")

PIPE_SECONDS = 10.0
"""How long the writer of a pipe has for its first byte."""
NOTICE_SECONDS = 1.5
"""After this a message says what the process waits for."""


def open_source(source: Path) -> BinaryIO:
    """Open a file. Raises `OSError` for a pipe that brings nothing within `PIPE_SECONDS`: it might never bring any."""
    if not stat.S_ISFIFO(source.stat().st_mode):
        return source.open("rb")
    descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    first = min(NOTICE_SECONDS, PIPE_SECONDS)
    if not select.select([descriptor], [], [], first)[0]:
        log.warning("waits for the configuration: %s is a pipe, and no program has written into it yet", source)
    if not select.select([descriptor], [], [], PIPE_SECONDS - first)[0]:
        os.close(descriptor)
        raise TimeoutError(errno.ETIMEDOUT, f"no program wrote into this pipe within {PIPE_SECONDS:g} s")
    os.set_blocking(descriptor, True)
    return open(descriptor, "rb")


def refuse_pipe(source: Path | None) -> None:
    """Raises `ConfigError` if a file is a pipe: several processes are to read it, and it can be read once."""
    if source is not None and source.is_fifo():
        message = "it is a pipe, which can be read once, and each of several processes reads the configuration"
        raise ConfigError([ConfigProblem(source, 0, "", message, "Write it to a file, and name that.")])
