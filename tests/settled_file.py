"""A file of a configuration that was written some time ago, as a watcher wants to see it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from openfall.config.config_watcher import SETTLED_SECONDS


def write_settled(file: Path, text: str, encoding: str = "utf-8") -> None:
    """Write a file, with a time of which no watcher thinks that it is being written. Each time is another one."""
    file.write_text(text, encoding=encoding)
    at = time.time_ns() - round((SETTLED_SECONDS + 1) * 1e9)
    os.utime(file, ns=(at, at))
