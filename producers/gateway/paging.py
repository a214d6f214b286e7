"""Pages of lists."""

from __future__ import annotations

from collections.abc import Mapping

from openfall.producers.gateway.error_table import Refusal


def page_limit(query: Mapping[str, str], default: int, most: int) -> int:
    """The `limit` of a query. Raises `Refusal`."""
    text = query.get("limit") or str(default)
    if not (text.isascii() and text.isdigit()) or len(text) > 6 or not 1 <= int(text) <= most:
        raise Refusal("bad_request", f"`limit` must be a number from 1 to {most}", "limit")
    return int(text)
