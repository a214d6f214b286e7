"""Addresses of Redis and of webhooks, and the secret that signs webhooks. No message shows any of them."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from openfall.config.document import Node
from openfall.config.errors import quoted
from openfall.config.fields import list_of
from openfall.config.redact import HIDDEN, redact_discord, redact_value, redact_webhook
from openfall.config.scalars import FieldType, escape, read_secret

SIGNED_BYTES = (24, 64)
"""How many bytes a signing secret has, by the Standard Webhooks specification (https://www.standardwebhooks.com)."""

MIN_CHARACTERS = 16
"""Of a signing secret that is plain text."""

_SECRET_PREFIX = "whsec_"
_DISCORD_PATH = re.compile(r"/api/(v\d+/)?webhooks/\d+/[^/\s]+")
_HOST_PATTERN = re.compile(r"[A-Za-z0-9.*?_\[\]!:-]+")


EMBEDDED = "embedded"
_REDIS_SCHEMES = frozenset({"redis", "rediss", "unix"})


def _read_redis(node: Node) -> str | None:
    """`embedded`, or the URL of a Redis. It may carry a password: no message shows it."""
    text = read_secret(node)
    if text is None or text == EMBEDDED or _is_redis(text):
        return text
    node.report(f"must be {EMBEDDED} or an address such as redis://127.0.0.1:6379/0, rediss://... or unix://...")
    return None


def _is_redis(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in _REDIS_SCHEMES and "://" in url and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _unshown(judge: Callable[[Node, str], bool]) -> Callable[[Node], str | None]:
    """A reader of a secret, which `judge` accepts or reports. Empty text means that there is none."""

    def read(node: Node) -> str | None:
        text = (read_secret(node) or "").strip()
        return text if text and judge(node, text) else None

    return read


def _is_discord(node: Node, text: str) -> bool:
    url = _address(text)
    valid = url is not None and (url.scheme == "https" or _is_loopback(url.hostname or ""))
    if url is not None and valid and _DISCORD_PATH.fullmatch(url.path):
        return True
    node.report(
        "must be the address of a Discord webhook, https://discord.com/api/webhooks/ID/TOKEN",
        "In Discord: Edit Channel, Integrations, Webhooks, Copy Webhook URL.",
    )
    return False


def _is_hook(node: Node, text: str) -> bool:
    if _address(text) is not None:
        return True
    node.report(
        "must be an address such as https://ops.example.com/hooks/openfall, without user and password",
        "Put a token into its path: the path is never shown.",
    )
    return False


def _can_sign(node: Node, text: str) -> bool:
    encoded = text.removeprefix(_SECRET_PREFIX)
    if encoded == text:
        valid = len(text) >= MIN_CHARACTERS
    else:
        low, high = SIGNED_BYTES
        valid = low <= _bytes_in(encoded) <= high
    if not valid:
        wanted = f"{_SECRET_PREFIX} and {SIGNED_BYTES[0]} to {SIGNED_BYTES[1]} bytes in base64"
        remedy = f"Make one: echo {_SECRET_PREFIX}$(openssl rand -base64 32)"
        node.report(f"must be {wanted}, or at least {MIN_CHARACTERS} characters of any text", remedy)
    return valid


def _bytes_in(encoded: str) -> int:
    try:
        return len(b64decode(encoded, validate=True))
    except (Error, ValueError):
        return 0


def _address(url: str) -> SplitResult | None:
    """The parts of an address that accepts a POST. None if it is not one, or carries a user."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if valid and "@" not in parts.netloc and not re.search(r"\s", url) else None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _host_pattern(node: Node) -> str | None:
    text = read_secret(node)
    if text is None or _HOST_PATTERN.fullmatch(text):
        return text.lower() if text is not None else None
    wanted = "a host or host:port, or a shell pattern of one"
    node.report(f"must be {wanted}, not {quoted(node.yaml.value)}", "For example hooks.example.com or *.example.com.")
    return None


def _hosts(node: Node) -> tuple[str, ...] | None:
    patterns = list_of(_HOST).read(node)
    if node.is_list and not node.items():
        node.report("the list is empty", "Name a host, or remove the key to allow every public one.")
    return patterns or None


redis_address: FieldType[str] = FieldType(_read_redis, {"type": "string"}, lambda url: escape(redact_value(url)))

_HOST: FieldType[str] = FieldType(
    _host_pattern, {"type": "string", "pattern": rf"^{_HOST_PATTERN.pattern}$|\$\{{"}, escape
)

discord_hook: FieldType[str] = FieldType(
    _unshown(_is_discord),
    {"type": "string", "pattern": r"^$|/api/(v\d+/)?webhooks/\d+/|\$\{"},
    lambda url: escape(redact_discord(url)),
)
"""The address of a Discord webhook. Plain http only on this machine: for tests, and for a proxy."""

hook: FieldType[str] = FieldType(
    _unshown(_is_hook), {"type": "string", "pattern": r"^$|^https?://|\$\{"}, lambda url: escape(redact_webhook(url))
)
"""An address that accepts a POST. Often it is a credential, so it is treated as a secret."""

signing_secret: FieldType[str] = FieldType(_unshown(_can_sign), {"type": "string"}, lambda text: HIDDEN)
"""The secret that signs webhooks."""

host_patterns: FieldType[tuple[str, ...]] = FieldType(
    _hosts, {"type": "array", "items": _HOST.shape, "minItems": 1}, list_of(_HOST).write
)
"""The hosts that callers may name: at least one."""
