"""How long an upstream asks us to wait, in the forms that providers use. Pure: a date is read against `Date`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_SECONDS = re.compile(r"\d{1,9}(?:\.\d+)?")
_RESET = "x-ratelimit-reset-"


def duration(text: str) -> float | None:
    """Seconds of a duration such as `12ms`, `7.66s`, `6m0s`; None if it is none."""
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of `Retry-After`: a number, or an HTTP date less the response's `Date`. `headers` ignore case."""
    told = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(told):
        return float(told)
    try:
        wait = parsedate_to_datetime(told) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):
        return None
    return max(0.0, wait.total_seconds())


def limit_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until the rate limits renew (`x-ratelimit-reset-tokens: 6m0s`).

    The longest wait among those limits of which nothing remains; when each has something left, the shortest of all.
    """
    resets = {name[len(_RESET) :]: duration(value) for name, value in headers.items() if name.startswith(_RESET)}
    waits = {kind: wait for kind, wait in resets.items() if wait is not None}
    spent = [wait for kind, wait in waits.items() if headers.get(f"x-ratelimit-remaining-{kind}") == "0"]
    return max(spent) if spent else min(waits.values(), default=None)
