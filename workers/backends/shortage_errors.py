"""Errors that are this process's own: it lacks file descriptors, memory, ports or threads. No upstream is to blame."""

from __future__ import annotations

import errno
import os
import re
import socket

import aiohttp

OUT_OF_MEMORY = "out of memory"
MAX_CAUSES = 10
"""Errors of a chain that are looked at."""
_CUT_OFF = re.compile(r"MemoryError\(\)$")
"""The end of the text of aiohttp's error of a body that is cut off, if its connection ended for a lack of memory."""
_OWN_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC})


def describe_shortage(error: BaseException) -> str | None:
    """What this process lacks, by the error of a call or what caused it; None: the error is not its own. aiohttp raises
    a `ClientError` of its own for whatever fails while it reads."""
    if _lacks_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, RuntimeError):
        return "no further thread can be started" if "can't start new thread" in str(error) else None
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, socket.gaierror):  # the resolver does not say that it could open no file
        return None if _can_open_file() else os.strerror(errno.EMFILE).lower()
    if not isinstance(cause, OSError) or cause.errno is None:
        return None
    if cause.errno in _OWN_ERRORS or (cause.errno == errno.EADDRNOTAVAIL and not _is_ipv6(error)):
        return os.strerror(cause.errno).lower()
    return None


def raise_shortage(error: Exception) -> None:
    """Raise an error again that is this process's own."""
    if describe_shortage(error):
        raise error


def _lacks_memory(error: BaseException) -> bool:
    if isinstance(error, aiohttp.ClientPayloadError) and _CUT_OFF.search(str(error)):
        return True
    causes: list[BaseException | None] = [error]
    while (cause := causes[-1]) is not None and not isinstance(cause, MemoryError) and len(causes) < MAX_CAUSES:
        causes.append(cause.__cause__ or cause.__context__)
    return isinstance(causes[-1], MemoryError)


def _is_ipv6(error: BaseException) -> bool:
    """Whether the address is one of IPv6. A machine without IPv6 reports it like a machine without a free port."""
    return isinstance(error, aiohttp.ClientConnectorError) and ":" in error.host


def _can_open_file() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True
