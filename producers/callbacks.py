"""Checks the inbox, webhook and `reply_to` of a job before it is submitted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from pydantic_core import to_json

from openfall.config.settings import Settings
from openfall.producers.arguments import describe
from openfall.producers.errors import BadRequest
from openfall.router_core.webhook_hosts import is_allowed_host, is_internal_host

MAX_REPLY_TO_BYTES = 4096
"""As JSON: an address, not a payload. The job keeps it, and every delivery repeats it."""
MAX_URL_LENGTH = 2048

_INBOX = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PORTS = {"http": 80, "https": 443}
_KEPT = "/?#[]@!$&'()*+,;=:%"
"""What a URL has as it is."""


def callback_options(options: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The fields of `SubmitTerms` for an inbox, a webhook and `reply_to`. Raises `BadRequest`."""
    inbox, url, reply_to = options.get("inbox"), options.get("webhook"), options.get("reply_to")
    if reply_to is not None and inbox is None and url is None:
        raise BadRequest("`reply_to` needs an inbox or a webhook: name one of them")
    return {
        "inbox": "" if inbox is None else check_inbox_name(inbox),
        "webhook": "" if url is None else _webhook(url, settings),
        "reply_to": b"" if reply_to is None else _pack_reply_to(reply_to),
        "keep_unread_seconds": settings.retention.unread,
    }


def check_inbox_name(name: str) -> str:
    """The name, if it is valid: it is a part of a key in Redis. Raises `BadRequest`."""
    if not isinstance(name, str) or not _INBOX.fullmatch(name):
        wrong = repr(name) if isinstance(name, str) and len(name) <= 64 else describe(name)
        raise BadRequest(f"not the name of an inbox: {wrong}. It has 1 to 64 letters, digits, `_`, `.` or `-`.")
    return name


def _pack_reply_to(reply_to: Any) -> bytes:
    try:
        packed = to_json(reply_to, inf_nan_mode="strings")
    except ValueError:  # not a JSON value, or one that contains itself
        raise BadRequest("`reply_to` must be a JSON value: text, a number, a list, an object ...") from None
    if len(packed) > MAX_REPLY_TO_BYTES:
        raise BadRequest(
            f"`reply_to` has {len(packed):,} bytes as JSON, more than {MAX_REPLY_TO_BYTES:,}: give an id instead"
        )
    return packed


def _webhook(url: str, settings: Settings) -> str:
    """The URL, if webhooks may be sent to it. Does not resolve the host: the dispatcher checks its addresses."""
    if not settings.webhooks.secret:
        raise BadRequest(
            "webhooks are signed, and there is no secret to sign with: "
            "set OPENFALL_WEBHOOK_SECRET, or `webhooks: {secret: ...}` in the configuration"
        )
    url, parts, port = _split(url)
    host = (parts.hostname or "").lower().rstrip(".")
    if parts.username is not None or parts.password is not None:
        raise BadRequest("a webhook's URL must not carry a user or a password: it is signed instead")
    if settings.webhooks.allow and not is_allowed_host(host, port, settings.webhooks.allow):
        raise BadRequest(f"webhooks may not be posted to {host}:{port}: add it to `webhooks: {{allow: [...]}}`")
    if settings.webhooks.private:
        return url
    if parts.scheme != "https":
        raise BadRequest("a webhook's URL must be https (http only where `webhooks: {private: yes}` is configured)")
    if is_internal_host(host):
        raise BadRequest(f"{host} is a private address: `webhooks: {{private: yes}}` would allow that")
    return url


def _split(url: str) -> tuple[str, SplitResult, int]:
    """The URL in ASCII, its parts, and its port. Errors do not quote the URL: its path may be a secret."""
    invalid = BadRequest("a webhook is a URL such as https://example.org/hook, without spaces")
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        raise invalid
    try:
        url = url if url.isascii() else _in_ascii(url)
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        raise invalid from None
    if len(url) > MAX_URL_LENGTH:
        raise BadRequest(f"a webhook's URL is too long: {len(url):,} characters, more than {MAX_URL_LENGTH:,}")
    if parts.scheme not in _PORTS or not parts.hostname:
        raise invalid
    return url, parts, port


def _in_ascii(url: str) -> str:
    """The URL as a browser sends it: its host in punycode, the rest in percent-encoded UTF-8. Raises `ValueError`."""
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    host, colon, port = place.partition(":")
    host = host.encode("idna").decode()
    path, query, fragment = (quote(part, safe=_KEPT) for part in (parts.path, parts.query, parts.fragment))
    return parts._replace(
        netloc=f"{quote(user, safe=_KEPT)}{at}{host}{colon}{port}", path=path, query=query, fragment=fragment
    ).geturl()
