"""Numbers in a query: the size of a page, and the place from which a list or a stream goes on."""

from __future__ import annotations

from collections.abc import Mapping

from openfall.producers.gateway.error_table import Refusal


def page_limit(query: Mapping[str, str], default: int, most: int) -> int:
    """The `limit` of a query. Raises `Refusal`."""
    return read_number("limit", query.get("limit") or str(default), 1, most)


def read_number(name: str, text: str, least: int, most: int = 10**9) -> int:
    """The whole number that a text is. Raises `Refusal`."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 10 or not least <= int(text) <= most:
        raise Refusal("bad_request", f"`{name}` must be a number from {least} to {most}", name)
    return int(text)
