"""Addresses of Redis: what is wrong with one, and how to show it. No piece of a password is ever shown."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

SCHEMES = ("redis", "rediss", "unix")
_MASK = "…"

ADDRESS = "an address such as redis://127.0.0.1:6379/0, rediss://... or unix://..."
NO_ADDRESS = f"it must be {ADDRESS}"
NOT_ENCODED = (
    "the special characters of its user and password must be percent-encoded: @ is %40, : is %3A, / is %2F, ? is %3F, "
    "# is %23, % is %25"
)
SENTINEL = "an address has no Sentinel: write `redis: {sentinels: [HOST:PORT, ...], service: NAME}` in openfall.yaml"


def find_fault(url: str) -> str | None:
    """What is wrong with an address, in words without a piece of it; None: it can be used.

    A password with a bare `/`, `?` or `#` ends the part of the address that has it: then what follows would be taken
    for a path, and what stands before it for the host, which messages show.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return NOT_ENCODED if "@" in url else NO_ADDRESS
    if "sentinel" in parts.scheme:
        return SENTINEL
    if parts.scheme not in SCHEMES or "://" not in url or port == 0:
        return NO_ADDRESS
    return NOT_ENCODED if any("@" in part for part in _without_user(parts)) else None


def _without_user(parts: SplitResult) -> Iterator[str]:
    """The parts in which an `@` belongs to a user that is not encoded."""
    yield parts.fragment
    if parts.scheme != "unix" or parts.netloc.rpartition("@")[2]:
        yield parts.path
    for parameter in parts.query.split("&"):
        name, _, value = parameter.partition("=")
        yield name if name in ("username", "password") else f"{name}{value}"


def hide_credentials(url: str) -> str:
    """The address without its password. One that cannot be used is hidden whole."""
    if find_fault(url) is not None:
        return _MASK
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    netloc = f"{f'{name}:' if colon else ''}{_MASK}@{host}" if at else host
    query = "&".join(_hide(parameter) for parameter in parts.query.split("&"))
    return f"{parts.scheme}://{netloc}{parts.path}{'?' if query else ''}{query}"


def _hide(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return f"{name}={_MASK}" if equals and name in ("username", "password") else parameter
