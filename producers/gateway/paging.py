"""Lists in pages: the size, the order and the place in a query, and the body of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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


def newest_first(query: Mapping[str, str]) -> bool:
    """The `order` of a query. Raises `Refusal`."""
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise Refusal("bad_request", "`order` must be asc or desc", "order")
    return order == "desc"


def page_body(entries: Sequence[Mapping[str, Any]], has_more: bool) -> dict[str, Any]:
    """The body of a page, as OpenAI and Anthropic have it."""
    ends = {"first_id": entries[0]["id"] if entries else None, "last_id": entries[-1]["id"] if entries else None}
    return {"object": "list", "data": entries, "has_more": has_more, **ends}
