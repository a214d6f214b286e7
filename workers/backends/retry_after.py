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
_MOMENT = re.compile(r"\d{10}(\d{3})?")
_ISO = re.compile(r"\d{4}-\d\d-\d\dT.+")

_WAIT_FIELDS = ("retry_after", "retry_after_seconds", "retryAfter", "retryAfterSeconds", "estimated_time")
"""Fields of an error with a wait in seconds."""
MAX_DETAILS = 32
"""How many details of an error are read."""

_AMOUNT = re.compile(
    r"(\d{1,9}(?:\.\d{1,9})?) ?(ms\b|milliseconds?|[smhd](?![a-z])|sec|min|hour|hr|day|秒|分钟)[a-z]*", re.IGNORECASE
)
_STATED = re.compile(
    rf"\b(?:(?:try|trying|retry|wait)\w*\b[^\d.;]{{0,20}}?|(?:resets?|available|replenished) (?:again )?(?:in|after) )"
    rf"((?:{_AMOUNT.pattern}[, and]*)+)|请?在?{_AMOUNT.pattern}后",
    re.IGNORECASE,
)
"""How the words of an error state a wait: `try again in 1m2.5s`, `retry after 26 seconds`."""
_SPELLED = {"sec": "s", "min": "m", "hou": "h", "hr": "h", "day": "d", "mil": "ms", "秒": "s", "分钟": "m"}
_STATED_RESET = re.compile(
    r"(?:\breset at|将在) ?(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?![\d.]*(?: ?UTC\b| ?GMT\b|Z|[+-]\d))", re.IGNORECASE
)
"""How GLM states when a limit of its plan resets: `Your limit will reset at 2026-12-01 12:00:00`."""
_ZONES = ("+08:00", "+00:00")
"""The zones of such a time, the one with the earlier moment first: the provider's own, and that of other servers."""
_ANTHROPIC = "anthropic-ratelimit-"


def parse_duration(text: str) -> float | None:
    """Seconds of a duration such as `12ms`, `7.66s`, `6m0s`; None if it is not a duration."""
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of `Retry-After`: a number, or an HTTP date less the response's `Date`. `headers` ignore case.

    OpenAI also sends milliseconds as `retry-after-ms`, which are more exact, and Azure as `x-ms-retry-after-ms`.
    Gateways write a duration (`5s`) or a moment in place of seconds.
    """
    exact = (headers.get("retry-after-ms") or headers.get("x-ms-retry-after-ms", "")).strip()
    if _SECONDS.fullmatch(exact):
        return float(exact) / 1000
    value, date = headers.get("retry-after", "").strip(), headers.get("date", "")
    if (wait := _read_wait(value, date)) is not None:
        return wait
    try:
        until = parsedate_to_datetime(value) - parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return None
    return max(0.0, until.total_seconds())


def stated_wait(error: Any, message: str) -> float | None:
    """Seconds of the wait that an error states: in a field, in Google's `retryDelay` (`36s`, or seconds and nanos), or
    in its words."""
    fields = error if isinstance(error, Mapping) else {}
    details = fields.get("details")
    parts = [fields, fields.get("metadata"), *(details[:MAX_DETAILS] if isinstance(details, list) else [details])]
    for part in (part for part in parts if isinstance(part, Mapping)):
        waits = (_stated_number(part.get(name)) for name in (*_WAIT_FIELDS, "retryDelay"))
        if (wait := next((wait for wait in waits if wait is not None), None)) is not None:
            return wait
    if match := _STATED.search(message):
        return sum(float(number) * _unit(unit) for number, unit in _AMOUNT.findall(match[0]))
    return None


def _stated_number(value: Any) -> float | None:
    if isinstance(value, Mapping):
        parts = [_stated_number(value.get(name, 0)) for name in ("seconds", "nanos")]
        return None if None in parts else (parts[0] or 0) + (parts[1] or 0) / 1e9
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value).strip()
    return float(text) if _SECONDS.fullmatch(text) else parse_duration(text)


def _unit(name: str) -> float:
    name = name.lower()
    return _UNITS[name if name in _UNITS else _SPELLED[name[:3]]] if name not in _SPELLED else _UNITS[_SPELLED[name]]


def _read_wait(value: str, date: str) -> float | None:
    """Seconds of a wait as a number, a duration, or a moment, which is read against `Date`; None for any other, and for
    a moment that is past: it says nothing of the next one."""
    if _MOMENT.fullmatch(value):
        return until_epoch(value, date) or None
    if _ISO.fullmatch(value):
        return _until(value, date) or None
    return float(value) if _SECONDS.fullmatch(value) else parse_duration(value)


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


def stated_reset(message: str, date: str) -> float | None:
    """Seconds from an HTTP date to the time without a zone at which the words of an error say that a limit resets.

    It is the earliest future moment that it may be: a plan that is called too early is refused once more, and one that
    is called too late is not used."""
    if (match := _STATED_RESET.search(message)) is None:
        return None
    waits = (_until(f"{match[1]}T{match[2]}{zone}", date) for zone in _ZONES)
    return next((wait for wait in waits if wait), None)


def limit_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until the rate limits renew: `x-ratelimit-reset-tokens: 6m0s` (Cerebras: `11.38`), or a moment, read
    against `Date` (`anthropic-ratelimit-tokens-reset: 2026-11-21T10:00:30Z`). `ratelimit-reset` has seconds.

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
        return _read_wait(value.strip(), date), f"x-ratelimit-remaining-{name.removeprefix(_RESET)}"
    if name in ("ratelimit-reset", "x-ratelimit-reset"):
        return _read_wait(value.strip(), date), name.replace("reset", "remaining")
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
