"""The trace of a caller, as the W3C's Trace Context has it: the spans of its job belong to it."""

from __future__ import annotations

import re
from collections.abc import Mapping

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def read_traceparent(headers: Mapping[str, str]) -> str | None:
    """The header `traceparent`; None: there is none, or it is not valid."""
    value = headers.get("traceparent", "").strip()
    return value if _TRACEPARENT.fullmatch(value) else None
