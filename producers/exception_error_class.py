"""The error class of a failed call that a program made itself: by its exception, or by its HTTP status."""

from __future__ import annotations

from collections.abc import Mapping

from openfall.router_core.vocabulary import ErrorClass

_BY_STATUS: Mapping[int, ErrorClass] = {
    400: ErrorClass.BAD_REQUEST,
    401: ErrorClass.AUTH,
    402: ErrorClass.OUT_OF_CREDITS,
    403: ErrorClass.FORBIDDEN,
    404: ErrorClass.NOT_INSTALLED,
    408: ErrorClass.TIMEOUT,
    413: ErrorClass.CONTEXT_OVERFLOW,
    422: ErrorClass.BAD_REQUEST,
    429: ErrorClass.RATE_LIMITED,
    502: ErrorClass.CONNECTION,
    504: ErrorClass.TIMEOUT,
}
"""The class of an HTTP status alone. A worker also reads the body; a caller that does passes an `ErrorClass`."""

_BY_EXCEPTION_NAME = (
    ("timeout", ErrorClass.TIMEOUT), ("connect", ErrorClass.CONNECTION), ("network", ErrorClass.CONNECTION),
)  # fmt: skip
"""Parts of exception names in HTTP clients (httpx, requests, aiohttp, the providers' own)."""


def error_class(error: ErrorClass | str | BaseException | None, status: int | None) -> ErrorClass | None:
    """The class of a failure; None: the call answered. An `ErrorClass` wins over a status, a status over the rest."""
    if isinstance(error, str) and error in set(ErrorClass):
        return ErrorClass(error)
    status = _status_of_exception(error) if status is None else status
    if status is not None and status >= 400:
        return _BY_STATUS.get(status, ErrorClass.OVERLOADED if status >= 500 else ErrorClass.OTHER)
    if isinstance(error, TimeoutError):
        return ErrorClass.TIMEOUT
    if isinstance(error, ConnectionError):
        return ErrorClass.CONNECTION
    if isinstance(error, BaseException):
        name = type(error).__name__.lower()
        return next((class_ for part, class_ in _BY_EXCEPTION_NAME if part in name), ErrorClass.OTHER)
    return ErrorClass.OTHER if error else None


def http_status(error: ErrorClass | str | BaseException | None, status: int | None) -> int | None:
    """The HTTP status of a refused call; None: there was no response, or it was no refusal."""
    status = _status_of_exception(error) if status is None else status
    return status if status is not None and status >= 400 else None


def _status_of_exception(error: object) -> int | None:
    """The HTTP status that an exception carries, itself or in its response."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status"):
            status = getattr(holder, name, None)
            if isinstance(status, int):
                return status
    return None
