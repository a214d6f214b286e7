"""The wait that an upstream requests, in the forms that providers use. Pure: a date is read against `Date`.

Durations on the wire (`6m0s`, `12ms`) have several units and never lack one, unlike those of the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SECONDS = re.compile(r"\d{1,9}(?:\.\d*)?|\.\d+")
_RESET = re.compile(r"(?:x-)?rate-?limit-reset(?:-|\Z)")
_EPOCH = re.compile(r"\d{10}(\d{3})?(\.\d+)?")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ].+")
_EXACT_HEADERS = ("retry-after-ms", "x-ms-retry-after-ms", "x-retry-after-ms")
_HEADERS = ("retry-after", "x-retry-after", "x-ratelimit-retry-after")
_LIST = re.compile(r"[,;]\s*(?!\d\d?[ -][A-Z][a-z]{2}[ -])")
"""What separates the values of a header that two servers wrote. The comma within a date is none: a day follows it."""
_POLICY = re.compile(r"\b(?:r|remaining)=(\d{1,9})[;,] ?(?:t|reset)=(\d{1,9})\b")
"""A limit of the header `RateLimit`: `"burst";r=0;t=12`, or of an older draft `limit=9, remaining=0, reset=12`."""

_WAIT_FIELDS = {"retry_after_ms": 1000, "retry_after": 1, "retry_after_seconds": 1, "retryAfter": 1,
                "retryAfterSeconds": 1, "reset_after": 1, "estimated_time": 1, "retryDelay": 1}  # fmt: skip
"""Fields of an error with a wait, and how many of their numbers are a second."""
MAX_VALUE_LENGTH = 256
"""The characters of a header's value that are read. A longer one is no wait."""
MAX_DETAILS = 32
"""How many details of an error are read."""

_AMOUNT = re.compile(
    r"(\d{1,9}(?:\.\d{1,9})?) ?(ms\b|milliseconds?|[smhd](?![a-z])|sec|min|hour|hr|day|秒|分钟)[a-z]*", re.IGNORECASE
)
_DURATION = re.compile(rf"(?:{_AMOUNT.pattern}[, and]*)+", re.IGNORECASE)
_STATED = re.compile(
    rf"\b(?:(?:try|trying|retry|wait)\w*\b[^\d.;]{{0,20}}?|(?:resets?|available|replenished) (?:again )?(?:in|after) )"
    rf"({_DURATION.pattern})|请?在?{_AMOUNT.pattern}后",
    re.IGNORECASE,
)
"""How the words of an error state a wait: `try again in 1m2.5s`, `retry after 26 seconds`."""
_SPELLED = {"sec": "s", "min": "m", "hou": "h", "hr": "h", "day": "d", "mil": "ms", "秒": "s", "分钟": "m"}
_STATED_RESET = re.compile(
    r"(?:\b(?:resets?|again|retry|available|until)\b[^\d.;]{0,20}|将在 ?)"
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d(?:\.\d{1,9})?)(?: ?(UTC|GMT|Z|[+-]\d\d:?\d\d))?",
    re.IGNORECASE,
)
"""How errors state when a limit resets: `Limit resets at: 2026-12-01 12:00:00 UTC` (LiteLLM), without a zone at GLM."""
_ZONES = ("+08:00", "+00:00")
"""The zones of such a time, the one with the earlier moment first: the provider's own, and that of other servers."""
_ANTHROPIC = "anthropic-ratelimit-"


def parse_wire_duration(text: str) -> float | None:
    """Seconds of a duration such as `12ms`, `6m0s`, `2 minutes`; None if it is not a duration."""
    return _sum_of(text) if _DURATION.fullmatch(text) else None


def _sum_of(text: str) -> float:
    return sum(float(number) * _unit(unit) for number, unit in _AMOUNT.findall(text))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of `Retry-After`: a number, a duration, or a moment less the response's `Date`. `headers` ignore case.

    OpenAI also sends milliseconds as `retry-after-ms`, which are more exact, and Azure as `x-ms-retry-after-ms`. Of
    several values the longest counts: a proxy adds its own to that of the server behind it.
    """
    date = headers.get("date", "")
    exact = (_longest(headers.get(name, ""), date) for name in _EXACT_HEADERS)
    if (wait := next((wait for wait in exact if wait is not None), None)) is not None:
        return wait / 1000
    waits = (_longest(headers.get(name, ""), date) for name in _HEADERS)
    return next((wait for wait in waits if wait is not None), None)


def _longest(value: str, date: str) -> float | None:
    waits = (_read_wait(part, date) for part in _LIST.split(value if len(value) <= MAX_VALUE_LENGTH else ""))
    return max((wait for wait in waits if wait is not None), default=None)


def stated_wait(error: Any, message: str) -> float | None:
    """Seconds of the wait that an error states: in a field, in Google's `retryDelay` (`36s`, or seconds and nanos), or
    in its words."""
    fields = error if isinstance(error, Mapping) else {}
    details = fields.get("details")
    parts = [fields, fields.get("metadata"), *(details[:MAX_DETAILS] if isinstance(details, list) else [details])]
    for part in (part for part in parts if isinstance(part, Mapping)):
        waits = ((_stated_number(part.get(name)), scale) for name, scale in _WAIT_FIELDS.items())
        if (wait := next((wait / scale for wait, scale in waits if wait is not None), None)) is not None:
            return wait
    match = _STATED.search(message)
    return _sum_of(match[0]) if match else None


def _stated_number(value: Any) -> float | None:
    if isinstance(value, Mapping):
        parts = [_stated_number(value.get(name, 0)) for name in ("seconds", "nanos")]
        return None if None in parts else (parts[0] or 0) + (parts[1] or 0) / 1e9
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value).strip()
    return float(text) if _SECONDS.fullmatch(text) else parse_wire_duration(text)


def _unit(name: str) -> float:
    name = name.lower()
    return _UNITS[name if name in _UNITS else _SPELLED[name[:3]]] if name not in _SPELLED else _UNITS[_SPELLED[name]]


def _read_wait(value: str, date: str) -> float | None:
    """Seconds of a wait as a number, a duration, or a moment, which is read against `Date`; None for any other, and for
    a moment that is past: it says nothing of the next one. An HTTP date that is past means now."""
    value = value.strip(' "+')
    if _EPOCH.fullmatch(value) or _ISO.fullmatch(value):
        return until(value, date) or None
    wait = float(value) if _SECONDS.fullmatch(value) else parse_wire_duration(value)
    return until(value, date) if wait is None else wait


def plan_reset(headers: Mapping[str, str], error: Any) -> float | None:
    """Seconds until the limit of a plan resets: `resets_in_seconds` of an error of Codex, or a moment
    (`resets_at`, `X-RateLimit-Reset`, `anthropic-ratelimit-unified-reset`), read against `Date`."""
    fields = error if isinstance(error, dict) else {}
    seconds = fields.get("resets_in_seconds")
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds < 10**9:
        return float(seconds)
    metadata = fields.get("metadata")
    of_upstream = metadata.get("headers") if isinstance(metadata, dict) else None
    inner = of_upstream if isinstance(of_upstream, dict) else {}
    moments = (
        headers.get("anthropic-ratelimit-unified-reset"), fields.get("resets_at"), fields.get("reset_at"),
        inner.get("X-RateLimit-Reset"),
        headers.get("x-ratelimit-reset"), headers.get("x-rate-limit-reset"),
    )  # fmt: skip
    waits = (until(str(moment), headers.get("date", "")) for moment in moments)
    return next((wait for wait in waits if wait is not None), None)


def stated_reset(message: str, date: str) -> float | None:
    """Seconds from an HTTP date to the time at which the words of an error say that a limit resets.

    Of a time without a zone it is the earliest future moment that it may be: a plan that is called too early is refused
    once more, and one that is called too late is not used."""
    if (match := _STATED_RESET.search(message)) is None:
        return None
    zones = (match[3].upper().replace("UTC", "Z").replace("GMT", "Z"),) if match[3] else _ZONES
    waits = (until(f"{match[1]}T{match[2]}{zone}", date) for zone in zones)
    return next((wait for wait in waits if wait), None)


def limit_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until the rate limits renew: `x-ratelimit-reset-tokens: 6m0s` (Cerebras: `11.38`), or a moment, read
    against `Date` (`anthropic-ratelimit-tokens-reset: 2026-11-21T10:00:30Z`). `ratelimit-reset` has seconds.

    The longest wait among the exhausted limits; if none is exhausted, the shortest wait of all.
    """
    waits, exhausted = [], []
    for name, value in headers.items():
        for wait, remaining in _resets(name.lower(), value, headers):
            waits.append(wait)
            if remaining == "0":
                exhausted.append(wait)
    return max(exhausted) if exhausted else min(waits, default=None)


def _resets(name: str, value: str, headers: Mapping[str, str]) -> Iterator[tuple[float, str | None]]:
    """The waits of a header (none: it is no reset header), each with what remains of its limit."""
    if name == "ratelimit":
        yield from ((float(wait), remaining) for remaining, wait in _POLICY.findall(value[:MAX_VALUE_LENGTH]))
    elif _RESET.match(name):
        if (wait := _longest(value, headers.get("date", ""))) is not None:
            yield wait, headers.get(name.replace("reset", "remaining", 1))
    elif name.startswith(_ANTHROPIC) and name.endswith("-reset"):
        wait = until(value, headers.get("date", ""))
        yield from [] if wait is None else [(wait, headers.get(f"{name.removesuffix('-reset')}-remaining"))]


def until(moment: str, date: str) -> float | None:
    """Seconds from an HTTP date to an HTTP date, an RFC 3339 time, or an epoch time in seconds or milliseconds; 0.0 if
    that is past; None if either is invalid."""
    if len(moment) > MAX_VALUE_LENGTH or len(date) > MAX_VALUE_LENGTH:
        return None
    moment = moment.strip()
    try:
        if epoch := _EPOCH.fullmatch(moment):
            then = datetime.fromtimestamp(float(moment) / (1000 if epoch[1] else 1), UTC)
        else:
            then = datetime.fromisoformat(moment) if _ISO.fullmatch(moment) else parsedate_to_datetime(moment)
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
        return max(0.0, (then - parsedate_to_datetime(date)).total_seconds())
    except (ValueError, TypeError, OverflowError):  # the parser of dates reads numbers of any length
        return None
