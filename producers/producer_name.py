"""The default name of a producer."""

from __future__ import annotations

import getpass
import os
import socket


def producer_name() -> str:
    """`user@host`: the same for all processes of one user on one machine, so that they share idempotency keys."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a user id that has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"[:128]
