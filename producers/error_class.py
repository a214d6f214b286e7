"""Which error class a caller's own failure is: of an HTTP status, an exception, or a word."""

from __future__ import annotations

from collections.abc import Mapping

from openfall.router_core.jobs.outcome import ErrorClass

_BY_STATUS: Mapping[int, ErrorClass] = {
    400: ErrorClass.BAD_REQUEST,
    401: ErrorClass.AUTH,
    402: ErrorClass.OUT_OF_CREDITS,
    403: ErrorClass.AUTH,
    404: ErrorClass.NOT_INSTALLED,
    408: ErrorClass.TIMEOUT,
    413: ErrorClass.CONTEXT_OVERFLOW,
    422: ErrorClass.BAD_REQUEST,
    429: ErrorClass.RATE_LIMITED,
    502: ErrorClass.CONNECTION,
    504: ErrorClass.TIMEOUT,
}
"""What a status says by itself. A worker, which reads the body too, knows better; a caller may say so by a word."""

_BY_NAME = (("timeout", ErrorClass.TIMEOUT), ("connect", ErrorClass.CONNECTION), ("network", ErrorClass.CONNECTION))
"""Parts of the names that HTTP clients give their exceptions (httpx, requests, aiohttp, the providers' own)."""


def error_class(error: ErrorClass | str | BaseException | None, status: int | None) -> ErrorClass | None:
    """The class of a failure; None: it answered. A word of the vocabulary wins over a status, that over the rest."""
    if isinstance(error, str) and error in set(ErrorClass):
        return ErrorClass(error)
    status = _status_of(error) if status is None else status
    if status is not None and status >= 400:
        return _BY_STATUS.get(status, ErrorClass.OVERLOADED if status >= 500 else ErrorClass.OTHER)
    if isinstance(error, BaseException):
        return _of_exception(error)
    return ErrorClass.OTHER if error else None


def _of_exception(error: BaseException) -> ErrorClass:
    if isinstance(error, TimeoutError):
        return ErrorClass.TIMEOUT
    if isinstance(error, ConnectionError):
        return ErrorClass.CONNECTION
    name = type(error).__name__.lower()
    return next((found for part, found in _BY_NAME if part in name), ErrorClass.OTHER)


def _status_of(error: object) -> int | None:
    """The status that an exception of an HTTP client carries: its own, or its response's."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status"):
            told = getattr(holder, name, None)
            if isinstance(told, int):
                return told
    return None
