"""Secrets as people may see them."""

from __future__ import annotations

import re

_SHORT = 20
"""A secret shorter than this is not shown in part: too much of it would be."""

_CREDENTIAL = re.compile(r"(?<=://)(?:([^/?#:]*):)?\S*(?=@)")
_PARAMETER = re.compile(r"(?<=[?&])([^=&#]*(?:pass|token|key|secret)[^=&#]*)=[^&#]+", re.IGNORECASE)
_DISCORD_TOKEN = re.compile(r"(/webhooks/\d+/)[^?#]+")

HIDDEN = "…" * 16
"""A secret of which nothing is shown. It is as long as one has to be, so that what is shown can be read again."""


def redact_value(url: str) -> str:
    """An address with its password, or any parameter that sounds like one, as `…`."""
    bare = _CREDENTIAL.sub(lambda match: f"{match[1]}:…" if match[1] is not None else "…", url, count=1)
    return _PARAMETER.sub(r"\1=…", bare)


def redact_key(key: str) -> str:
    """Enough of a secret to tell which one it is: `sk-ant-…x9Qk`."""
    if not key:
        return ""
    return f"{key[:7]}…{key[-4:]}" if len(key) >= _SHORT else "…"


def redact_discord(url: str) -> str:
    """The address of a Discord webhook without its token: `https://discord.com/api/webhooks/123/…`."""
    return _DISCORD_TOKEN.sub(r"\1…", url, count=1)


def redact_webhook(url: str) -> str:
    """An address of which whoever knows it may post there: no more than its host."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{re.split('[/?#]', rest, maxsplit=1)[0]}/…"
