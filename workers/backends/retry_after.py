"""How long an upstream asks us to wait, in the forms that providers use. Pure: a date is read against `Date`."""

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
    """Seconds of a duration such as `12ms`, `7.66s`, `6m0s`; None if it is none."""
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of `Retry-After`: a number, or an HTTP date less the response's `Date`. `headers` ignore case.

    OpenAI tells it in milliseconds too, as `retry-after-ms`, which is the more exact.
    """
    exact = headers.get("retry-after-ms", "").strip()
    if _SECONDS.fullmatch(exact):
        return float(exact) / 1000
    told = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(told):
        return float(told)
    try:
        wait = parsedate_to_datetime(told) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):
        return None
    return max(0.0, wait.total_seconds())


def limit_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until the rate limits renew: `x-ratelimit-reset-tokens: 6m0s`, or a moment, read against `Date`
    (`anthropic-ratelimit-tokens-reset: 2026-11-21T10:00:30Z`).

    The longest wait among those limits of which nothing remains; when each has something left, the shortest of all.
    """
    waits, spent = [], []
    for name, told in headers.items():
        wait, remaining = _reset(name.lower(), told, headers.get("date", ""))
        if wait is not None:
            waits.append(wait)
            if headers.get(remaining) == "0":
                spent.append(wait)
    return max(spent) if spent else min(waits, default=None)


def _reset(name: str, told: str, date: str) -> tuple[float | None, str]:
    """The wait that a header tells, if it is one of those, and the name of the one that tells what remains."""
    if name.startswith(_RESET):
        return parse_duration(told), f"x-ratelimit-remaining-{name.removeprefix(_RESET)}"
    if name.startswith(_ANTHROPIC) and name.endswith("-reset"):
        return _until(told, date), f"{name.removesuffix('-reset')}-remaining"
    return None, ""


def _until(moment: str, date: str) -> float | None:
    """Seconds from an HTTP date to a moment as RFC 3339 writes it; None when either is none."""
    try:
        return max(0.0, (datetime.fromisoformat(moment) - parsedate_to_datetime(date)).total_seconds())
    except (ValueError, TypeError):
        return None
