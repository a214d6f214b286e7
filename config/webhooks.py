"""Addresses that openfall posts to by itself, and the secret that it signs with. No message shows any of them."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from openfall.config.document import Node
from openfall.config.field_types import (
    FieldType,
    listed,
    secret,
    written,
)
from openfall.config.problems import quoted
from openfall.config.redact import HIDDEN, redact_discord, redact_webhook

SIGNED_BYTES = (24, 64)
"""How many bytes a signing secret has, by the Standard Webhooks specification (https://www.standardwebhooks.com)."""

LEAST_CHARACTERS = 16
"""Of a signing secret that is any text."""

_SECRET_PREFIX = "whsec_"
_DISCORD_PATH = re.compile(r"/api/(v\d+/)?webhooks/\d+/[^/\s]+")
_HOST_PATTERN = re.compile(r"[A-Za-z0-9.*?_\[\]!:-]+")


def _unshown(judge: Callable[[Node, str], bool]) -> Callable[[Node], str | None]:
    """A reader of something secret, which a judge finds sound or reports; an empty text is the same as none."""

    def read(place: Node) -> str | None:
        told = (secret(place) or "").strip()
        return told if told and judge(place, told) else None

    return read


def _is_discord(place: Node, told: str) -> bool:
    url = _address(told)
    sound = url is not None and (url.scheme == "https" or _is_loopback(url.hostname or ""))
    if url is not None and sound and _DISCORD_PATH.fullmatch(url.path):
        return True
    place.report(
        "must be the address of a Discord webhook, https://discord.com/api/webhooks/ID/TOKEN",
        "In Discord: Edit Channel, Integrations, Webhooks, Copy Webhook URL.",
    )
    return False


def _is_hook(place: Node, told: str) -> bool:
    if _address(told) is not None:
        return True
    place.report(
        "must be an address such as https://ops.example.com/hooks/openfall, without user and password",
        "What it has to prove goes into its path: that is never shown.",
    )
    return False


def _can_sign(place: Node, told: str) -> bool:
    encoded = told.removeprefix(_SECRET_PREFIX)
    if encoded == told:
        sound = len(told) >= LEAST_CHARACTERS
    else:
        least, most = SIGNED_BYTES
        sound = least <= _bytes_in(encoded) <= most
    if not sound:
        wanted = f"{_SECRET_PREFIX} and {SIGNED_BYTES[0]} to {SIGNED_BYTES[1]} bytes in base64"
        remedy = f"Make one: echo {_SECRET_PREFIX}$(openssl rand -base64 32)"
        place.report(f"must be {wanted}, or at least {LEAST_CHARACTERS} characters of any text", remedy)
    return sound


def _bytes_in(encoded: str) -> int:
    try:
        return len(b64decode(encoded, validate=True))
    except (Error, ValueError):
        return 0


def _address(url: str) -> SplitResult | None:
    """The parts of an address that can be posted to; None if it is none, or carries a user."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if sound and "@" not in parts.netloc and not re.search(r"\s", url) else None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _host_pattern(place: Node) -> str | None:
    told = secret(place)
    if told is None or _HOST_PATTERN.fullmatch(told):
        return told.lower() if told is not None else None
    wanted = "a host or host:port, or a shell pattern of one"
    place.report(f"must be {wanted}, not {quoted(place.node.value)}", "For example hooks.example.com or *.example.com.")
    return None


def _hosts(place: Node) -> tuple[str, ...] | None:
    patterns = listed(_HOST)(place)
    if place.is_list and not place.items():
        place.report("the list is empty", "Name a host, or remove the key to allow every public one.")
    return patterns or None


_HOST: FieldType[str] = FieldType(
    _host_pattern, {"type": "string", "pattern": rf"^{_HOST_PATTERN.pattern}$|\$\{{"}, written
)

discord_hook: FieldType[str] = FieldType(
    _unshown(_is_discord),
    {"type": "string", "pattern": r"^$|/api/(v\d+/)?webhooks/\d+/|\$\{"},
    lambda url: written(redact_discord(url)),
)
"""The address of a Discord webhook. Plain http only on this machine: for tests, and for a proxy."""

hook: FieldType[str] = FieldType(
    _unshown(_is_hook), {"type": "string", "pattern": r"^$|^https?://|\$\{"}, lambda url: written(redact_webhook(url))
)
"""An address that takes a POST. Often whoever knows it may post there, so it is a secret."""

signing_secret: FieldType[str] = FieldType(_unshown(_can_sign), secret.shape, lambda told: HIDDEN)
"""What webhooks are signed with."""

host_patterns: FieldType[tuple[str, ...]] = FieldType(
    _hosts, {"type": "array", "items": _HOST.shape, "minItems": 1}, listed(_HOST).write
)
"""Which hosts callers may name; at least one."""
