"""Secrets as people may see them."""

from __future__ import annotations

import re

_SHORT = 20
"""A secret shorter than this is not shown in part: too much of it would be."""

_CREDENTIAL = re.compile(r"(?<=://)(?:([^/?#:]*):)?\S*(?=@)")
_PARAMETER = re.compile(r"(?<=[?&])([^=&#]*(?:pass|token|key|secret)[^=&#]*)=[^&#]+", re.IGNORECASE)


def masked(url: str) -> str:
    """An address with its password, or any parameter that sounds like one, as `…`."""
    bare = _CREDENTIAL.sub(lambda match: f"{match[1]}:…" if match[1] is not None else "…", url, count=1)
    return _PARAMETER.sub(r"\1=…", bare)


def masked_key(key: str) -> str:
    """Enough of a secret to tell which one it is: `sk-ant-…x9Qk`."""
    if not key:
        return ""
    return f"{key[:7]}…{key[-4:]}" if len(key) >= _SHORT else "…"
