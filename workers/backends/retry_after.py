"""The wait that an upstream requests, in the forms that providers use. Pure: a date is read against `Date`.

Durations on the wire (`6m0s`, `12ms`) have several units and never lack one, unlike those of the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_SECONDS = re.compile(r"\d{1,9}(?:\.\d+)?")
_RESET = "x-ratelimit-reset-"
_ANTHROPIC = "anthropic-ratelimit-"


def parse_duration(text: str) -> float | None:
    """Seconds of a duration such as `12ms`, `7.66s`, `6m0s`; None if it is not a duration."""
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of `Retry-After`: a number, or an HTTP date less the response's `Date`. `headers` ignore case.

    OpenAI also sends milliseconds as `retry-after-ms`, which are more exact.
    """
    exact = headers.get("retry-after-ms", "").strip()
    if _SECONDS.fullmatch(exact):
        return float(exact) / 1000
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):
        return None
    return max(0.0, wait.total_seconds())


def limit_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until the rate limits renew: `x-ratelimit-reset-tokens: 6m0s`, or a moment, read against `Date`
    (`anthropic-ratelimit-tokens-reset: 2026-11-21T10:00:30Z`).

    The longest wait among the exhausted limits; if none is exhausted, the shortest wait of all.
    """
    waits, exhausted = [], []
    for name, value in headers.items():
        wait, remaining = _reset(name.lower(), value, headers.get("date", ""))
        if wait is not None:
            waits.append(wait)
            if headers.get(remaining) == "0":
                exhausted.append(wait)
    return max(exhausted) if exhausted else min(waits, default=None)


def _reset(name: str, value: str, date: str) -> tuple[float | None, str]:
    """The wait of a reset header (None for any other), and the name of the header with the remaining amount."""
    if name.startswith(_RESET):
        return parse_duration(value), f"x-ratelimit-remaining-{name.removeprefix(_RESET)}"
    if name.startswith(_ANTHROPIC) and name.endswith("-reset"):
        return _until(value, date), f"{name.removesuffix('-reset')}-remaining"
    return None, ""


def _until(moment: str, date: str) -> float | None:
    """Seconds from an HTTP date to an RFC 3339 time; None if either is invalid."""
    try:
        return max(0.0, (datetime.fromisoformat(moment) - parsedate_to_datetime(date)).total_seconds())
    except (ValueError, TypeError):
        return None
