"""The wait that an upstream requests, in the forms that providers use. Pure: a date is read against `Date`.

Durations on the wire (`6m0s`, `12ms`) have several units and never lack one, unlike those of the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

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


def plan_reset(headers: Mapping[str, str], error: Any) -> float | None:
    """Seconds until the limit of a plan resets: `resets_in_seconds` of an error of Codex, or a moment in epoch seconds
    or milliseconds (`resets_at`, `X-RateLimit-Reset`, `anthropic-ratelimit-unified-reset`), read against `Date`."""
    fields = error if isinstance(error, dict) else {}
    seconds = fields.get("resets_in_seconds")
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds < 10**9:
        return float(seconds)
    metadata = fields.get("metadata")
    of_upstream = metadata.get("headers") if isinstance(metadata, dict) else None
    inner = of_upstream if isinstance(of_upstream, dict) else {}
    moments = (
        headers.get("anthropic-ratelimit-unified-reset"), fields.get("resets_at"), inner.get("X-RateLimit-Reset"),
        headers.get("x-ratelimit-reset"),
    )  # fmt: skip
    waits = (until_epoch(str(moment), headers.get("date", "")) for moment in moments)
    return next((wait for wait in waits if wait is not None), None)


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


def until_epoch(moment: str, date: str) -> float | None:
    """Seconds from an HTTP date to an epoch time in seconds or milliseconds; None if either is invalid."""
    if not re.fullmatch(r"\d{10}(\d{3})?", moment.strip()):
        return None
    seconds = int(moment) / (1000 if len(moment.strip()) == 13 else 1)
    try:
        return max(0.0, seconds - parsedate_to_datetime(date).timestamp())
    except (ValueError, TypeError):
        return None


def _until(moment: str, date: str) -> float | None:
    """Seconds from an HTTP date to an RFC 3339 time; None if either is invalid."""
    try:
        return max(0.0, (datetime.fromisoformat(moment) - parsedate_to_datetime(date)).total_seconds())
    except (ValueError, TypeError):
        return None
