"""The values of a Redis section: addresses, passwords, files of certificates. No message shows a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from openfall.config.errors import quoted
from openfall.config.paths import resolve
from openfall.config.redact import MASK
from openfall.config.scalars import FieldType, escape, pattern_shape, read_secret, read_text
from openfall.config.yaml_document import Node
from openfall.router_core.catalog.field_types import Format
from openfall.router_core.redis_url import ADDRESS, NOT_ENCODED, SENTINEL, find_fault, hide_credentials

EMBEDDED = "embedded"
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):([0-9]{1,5})")
_MAX_PORT = 65535


def _read_url(node: Node) -> str | None:
    """An address; None for the embedded server."""
    text = read_secret(node)
    if text is None or text == EMBEDDED:
        return None
    fault = find_fault(text)
    if fault is None:
        return text
    if fault is NOT_ENCODED:
        node.report(fault, "Or write the password alone, under redis: password:.")
    elif fault is SENTINEL:
        node.report(fault)
    else:
        node.report(f"must be {EMBEDDED} or {ADDRESS}")
    return None


def _read_host_port(node: Node) -> str | None:
    text = read_secret(node)
    match = _HOST_PORT.fullmatch(text or "")
    if text is None or (match and 0 < int(match[2]) <= _MAX_PORT):
        return text
    shown = "" if "@" in text else f", not {quoted(node.raw.value)}"
    node.report(f"must be host:port{shown}", "For example sentinel-1.example.com:26379; the user has keys of its own.")
    return None


def _read_password(node: Node) -> str | None:
    return read_secret(node) or None


def _read_file(node: Node) -> str | None:
    text = read_text(node)
    if not text:
        return None
    path = resolve(text, node.document.base, node.document.environ)
    try:
        path.open("rb").close()
    except OSError as error:
        node.report(f"{path} cannot be read ({error.strerror})", "Paths start at the directory of this file.")
        return None
    return str(path)


REDIS_FORMATS: Mapping[Format, FieldType[Any]] = {
    Format.REDIS_URL: FieldType(_read_url, {"type": "string"}, lambda url: escape(hide_credentials(url))),
    Format.HOST_PORT: FieldType(_read_host_port, pattern_shape(r"^[^/@\s]+:[0-9]+$|\$\{"), escape),
    Format.PASSWORD: FieldType(_read_password, {"type": "string"}, lambda _: MASK),
    Format.FILE: FieldType(_read_file, {"type": "string"}, escape),
}
