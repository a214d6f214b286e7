"""Where what came of a job is told beside whoever waits for it: an inbox, a webhook. Checked before it is put in."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic_core import to_json

from openfall.config.settings import Settings
from openfall.producers.errors import BadRequest

MOST_REPLY_TO = 4096
"""Bytes of `reply_to` as JSON: an address, not a parcel. It is kept with the job and told with every delivery."""
MOST_URL = 2048

_INBOX = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PORTS = {"http": 80, "https": 443}


def callback_options(options: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The fields of `Terms` that say where to tell what came of a job. Raises `BadRequest`."""
    inbox, url, reply_to = options.get("inbox"), options.get("webhook"), options.get("reply_to")
    if reply_to is not None and inbox is None and url is None:
        raise BadRequest("`reply_to` is given back by an inbox or a webhook: name one of them")
    return {
        "inbox": "" if inbox is None else inbox_name(inbox),
        "webhook": "" if url is None else _webhook(url, settings),
        "reply_to": b"" if reply_to is None else _packed(reply_to),
        "keep_unread_seconds": settings.retention.unread,
    }


def inbox_name(told: str) -> str:
    """The name of an inbox, checked: it is a part of a key in Redis."""
    if not isinstance(told, str) or not _INBOX.fullmatch(told):
        raise BadRequest(f"not the name of an inbox: {told!r}. It has 1 to 64 letters, digits, `_`, `.` or `-`.")
    return told


def _packed(reply_to: Any) -> bytes:
    try:
        packed = to_json(reply_to, inf_nan_mode="strings")
    except ValueError:  # no JSON value, or one that contains itself
        raise BadRequest("`reply_to` must be a JSON value: text, a number, a list, an object ...") from None
    if len(packed) > MOST_REPLY_TO:
        raise BadRequest(
            f"`reply_to` has {len(packed):,} bytes as JSON, more than {MOST_REPLY_TO:,}: give an id instead"
        )
    return packed


def _webhook(url: str, settings: Settings) -> str:
    """A URL that may be posted to, as far as that can be told without looking its host up: the sender looks again."""
    if not settings.webhooks.secret:
        raise BadRequest(
            "webhooks are signed, and there is no secret to sign with: "
            "set OPENFALL_WEBHOOK_SECRET, or `webhooks: {secret: ...}` in the configuration"
        )
    parts, port = _split(url)
    host = (parts.hostname or "").lower().rstrip(".")
    if parts.username is not None or parts.password is not None:
        raise BadRequest("a webhook's URL must not carry a user or a password: it is signed instead")
    if settings.webhooks.allow and not _is_allowed(host, port, settings.webhooks.allow):
        raise BadRequest(f"webhooks may not be posted to {host}:{port}: add it to `webhooks: {{allow: [...]}}`")
    if settings.webhooks.private:
        return url
    if parts.scheme != "https":
        raise BadRequest("a webhook's URL must be https (http only where `webhooks: {private: yes}` is configured)")
    if _is_private(host):
        raise BadRequest(f"{host} is a private address: `webhooks: {{private: yes}}` would allow that")
    return url


def _split(url: str) -> tuple[SplitResult, int]:
    """The parts of a URL, and its port. What it is made of is not shown: its path may be a secret."""
    wanted = BadRequest("a webhook is a URL such as https://example.org/hook, without spaces")
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url:
        raise wanted
    if len(url) > MOST_URL:
        raise BadRequest(f"a webhook's URL is too long: {len(url):,} characters, more than {MOST_URL:,}")
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        raise wanted from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise wanted
    return parts, port


def _is_allowed(host: str, port: int, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern.lower()) for pattern in patterns for name in (host, f"{host}:{port}"))


def _is_private(host: str) -> bool:
    """Whether a host is written as an address that is not everybody's, in any of the forms that resolvers take."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address: IPv4Address | IPv6Address
    try:
        address = ip_address(host)
    except ValueError:
        try:
            address = IPv4Address(socket.inet_aton(host))  # `127.1`, `0x7f000001`, `2130706433`
        except OSError:
            return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return not address.is_global or address.is_multicast
