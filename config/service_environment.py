"""What a service manager gives to a service: a directory for its data, and secrets as files.

systemd sets `$STATE_DIRECTORY` (`StateDirectory=`) and `$CREDENTIALS_DIRECTORY` (`LoadCredential=`). A container has
the same with `CREDENTIALS_DIRECTORY=/run/secrets`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

STATE = "STATE_DIRECTORY"
CREDENTIALS = "CREDENTIALS_DIRECTORY"
MAX_BYTES = 65_536

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def state_directory(environ: Mapping[str, str]) -> str | None:
    """The first directory that the service manager keeps for this service."""
    return environ.get(STATE, "").split(":")[0] or None


def read_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that are files in the credentials directory: the name of each, and its text without the last line
    feed. A file whose name is no variable's, or that cannot be read as text, is none."""
    directory = environ.get(CREDENTIALS)
    if not directory or not os.path.isdir(directory):
        return {}
    values = {}
    for file in Path(directory).iterdir():
        try:
            if _NAME.fullmatch(file.name) and file.is_file() and file.stat().st_size <= MAX_BYTES:
                values[file.name] = file.read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError):
            continue
    return values
