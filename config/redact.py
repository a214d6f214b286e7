"""Secrets, redacted for display."""

from __future__ import annotations

import re

_MIN_SHOWN_IN_PART = 20
"""Characters of a secret of which a part is shown. Shorter ones are hidden completely."""

_CREDENTIAL = re.compile(r"(?<=://)(?:([^/?#:]*):)?\S*(?=@)")
_PARAMETER = re.compile(r"(?<=[?&])([^=&#]*(?:pass|token|key|secret)[^=&#]*)=[^&#]+", re.IGNORECASE)
_DISCORD_TOKEN = re.compile(r"(/webhooks/\d+/)[^?#]+")

MASK = "…"
"""Stands for what is hidden. No value with it can be loaded."""


def redact_value(url: str) -> str:
    """An address with `…` for its password and for every parameter that looks like a secret."""
    bare = _CREDENTIAL.sub(lambda match: f"{match[1]}:…" if match[1] is not None else "…", url, count=1)
    return _PARAMETER.sub(r"\1=…", bare)


def redact_key(key: str) -> str:
    """The first and last characters of a key, to identify it: `sk-ant-…x9Qk`."""
    if not key:
        return ""
    return f"{key[:7]}…{key[-4:]}" if len(key) >= _MIN_SHOWN_IN_PART else "…"


def redact_discord(url: str) -> str:
    """The address of a Discord webhook without its token: `https://discord.com/api/webhooks/123/…`."""
    return _DISCORD_TOKEN.sub(r"\1…", url, count=1)


def redact_webhook(url: str) -> str:
    """The host of an address that is itself a credential."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{re.split('[/?#]', rest, maxsplit=1)[0]}/…"
