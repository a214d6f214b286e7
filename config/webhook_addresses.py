"""The addresses of webhooks, and the hosts that callers may name. No message shows an address."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from openfall.config.errors import quoted
from openfall.config.fields import list_of
from openfall.config.redact import redact_discord, redact_webhook
from openfall.config.scalars import FieldType, escape, pattern_shape, read_secret
from openfall.config.yaml_document import Node

_DISCORD_PATH = re.compile(r"/api/(v\d+/)?webhooks/\d+/[^/\s]+")
_HOST_PATTERN = re.compile(r"[A-Za-z0-9.*?_\[\]!:-]+")


def secret_reader(is_valid: Callable[[str], bool], wanted: str, remedy: str) -> Callable[[Node], str | None]:
    """A reader of text that no message shows. Empty text means that there is none."""

    def read(node: Node) -> str | None:
        text = (read_secret(node) or "").strip()
        if not text or is_valid(text):
            return text or None
        node.report(f"must be {wanted}", remedy)
        return None

    return read


def _is_discord(text: str) -> bool:
    url = _address(text)
    if url is None or (url.scheme != "https" and not _is_loopback(url.hostname or "")):
        return False
    return _DISCORD_PATH.fullmatch(url.path) is not None


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


def _read_host_pattern(node: Node) -> str | None:
    text = read_secret(node)
    if text is None or _HOST_PATTERN.fullmatch(text):
        return text.lower() if text is not None else None
    wanted = "a host or host:port, or a shell pattern of one"
    node.report(f"must be {wanted}, not {quoted(node.raw.value)}", "For example hooks.example.com or *.example.com.")
    return None


def _read_host_patterns(node: Node) -> tuple[str, ...] | None:
    patterns = list_of(_HOST).read(node)
    if node.is_list and not node.items():
        node.report("the list is empty", "Name a host, or remove the key to allow every public one.")
    return patterns or None


discord_hook: FieldType[str] = FieldType(
    secret_reader(
        _is_discord,
        "the address of a Discord webhook, https://discord.com/api/webhooks/ID/TOKEN",
        "In Discord: Edit Channel, Integrations, Webhooks, Copy Webhook URL.",
    ),
    pattern_shape(r"^$|/api/(v\d+/)?webhooks/\d+/|\$\{"),
    lambda url: escape(redact_discord(url)),
)
"""The address of a Discord webhook. Plain http only on this machine: for tests, and for a proxy."""

hook: FieldType[str] = FieldType(
    secret_reader(
        lambda text: _address(text) is not None,
        "an address such as https://ops.example.com/hooks/openfall, without user and password",
        "Put a token into its path: the path is never shown.",
    ),
    pattern_shape(r"^$|^https?://|\$\{"),
    lambda url: escape(redact_webhook(url)),
)
"""An address that accepts a POST. Often it is a credential, so it is treated as a secret."""


_HOST: FieldType[str] = FieldType(_read_host_pattern, pattern_shape(rf"^{_HOST_PATTERN.pattern}$|\$\{{"), escape)

host_patterns: FieldType[tuple[str, ...]] = FieldType(
    _read_host_patterns, {"type": "array", "items": _HOST.shape, "minItems": 1}, list_of(_HOST).write
)
"""The hosts that callers may name: at least one."""
