"""The notation of values: durations (`5s`), tokens (`32k`), sizes (`4MiB`), shares (`85%`), rates
(`1 per 10m`).

A `parse_*` function gives None for text that is not of its kind.
"""

from __future__ import annotations

import re

NUMBER = r"\d(?:_?\d){0,15}(?:\.\d{1,20})?(?:[eE][-+]?\d{1,2})?"
"""A number as people and programs write it in YAML and JSON: `5`, `131_072`, `0.30000000000000004`, `1.0e-06`."""
_AMOUNT = re.compile(rf"({NUMBER}) ?([A-Za-z]*)")
_NUMBER = re.compile(rf"-?{NUMBER}")
_RATE = re.compile(r"(\d{1,9}) per (.+)")
MAX_WHOLE = 10**18
"""A whole number is smaller: it fits into 64 bits."""
_SECONDS_PER = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WORDS = "sec|secs|second|seconds|min|mins|minute|minutes|hr|hrs|hour|hours|day|days"
_SECONDS_PER |= {word: _SECONDS_PER[word[0]] for word in _WORDS.split("|")}
DURATION = rf"{NUMBER}|(?:{NUMBER} ?(?:ms|s|m|h|d|{_WORDS}) ?)+"
"""A duration, of one part or several: `5s`, `5 min`, `1h 30m`, or a plain number of seconds."""
_DURATION = re.compile(DURATION)
_UNITS_PER = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def parse_duration(text: str) -> float | None:
    """`500ms`, `5s`, `5 min`, `1h 30m`, `7d` or a plain number, in seconds."""
    if _DURATION.fullmatch(text) is None:
        return None
    return sum(float(number) * _SECONDS_PER[unit] for number, unit in _AMOUNT.findall(text))


def parse_tokens(text: str) -> int | None:
    """A number of tokens: `4096`, `32k`, `32Ki`. k, M, G are decimal; Ki, Mi, Gi are binary."""
    match = _AMOUNT.fullmatch(text)
    if match is None or match[2].lower() not in _UNITS_PER:
        return None
    tokens = float(match[1]) * _UNITS_PER[match[2].lower()]
    return int(tokens) if tokens.is_integer() and tokens < MAX_WHOLE else None


def parse_size(text: str) -> int | None:
    """A number of bytes: `4096`, `32k`, `4MiB`. The units are those of `parse_tokens`, with or without a `B`."""
    return parse_tokens(text[:-1] if text[-1:] in "bB" else text)


def parse_number(text: str) -> float | None:
    """A plain number."""
    return float(text) if text.isascii() and _NUMBER.fullmatch(text) else None


def parse_share(text: str) -> float | None:
    """`0.85` or `85%`. Bounds are not checked."""
    number = parse_number(text.removesuffix("%").rstrip())
    return number / 100 if number is not None and text.endswith("%") else number


def parse_rate(text: str) -> tuple[int, float] | None:
    """A number of events and a number of seconds: `1 per 10m` is (1, 600.0), `5 per h` is (5, 3600.0)."""
    match = _RATE.fullmatch(text)
    if match is None:
        return None
    seconds = _SECONDS_PER.get(match[2]) or parse_duration(match[2])
    return (int(match[1]), seconds) if seconds and int(match[1]) else None


def format_duration(seconds: float) -> str:
    """Seconds in the largest unit that divides them. `parse_duration` reads it back."""
    for unit, least in (("d", 2 * 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0)):
        if seconds >= least and (seconds / _SECONDS_PER[unit]).is_integer():
            return f"{seconds / _SECONDS_PER[unit]:.0f}{unit}"
    return f"{seconds * 1000:.6f}".rstrip("0").rstrip(".") + "ms"


def format_size(size: int) -> str:
    """A size in the largest binary unit that divides it. `parse_size` reads it back."""
    for unit in ("gi", "mi", "ki"):
        if size and size % _UNITS_PER[unit] == 0:
            return f"{size // _UNITS_PER[unit]}{unit.capitalize()}B"
    return str(size)


def format_rate(rate: tuple[int, float]) -> str:
    """A rate such as `1 per 10m`. `parse_rate` reads it back."""
    return f"{rate[0]} per {format_duration(rate[1])}"
