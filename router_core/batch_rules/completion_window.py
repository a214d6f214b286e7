"""The completion window of a batch: how it is written, and how long it may be."""

from __future__ import annotations

import re

HOUR_SECONDS = 3600

MAX_WINDOW_SECONDS = 7 * 24 * HOUR_SECONDS

_WINDOW = re.compile(r"([1-9]\d{0,2})([hd])")

_UNIT_SECONDS = {"h": HOUR_SECONDS, "d": 24 * HOUR_SECONDS}


def window_seconds(text: str) -> int | None:
    """The seconds of a completion window from `1h` to `7d`. None: the text is no window."""
    match = _WINDOW.fullmatch(text)
    seconds = int(match[1]) * _UNIT_SECONDS[match[2]] if match else 0
    return seconds if 0 < seconds <= MAX_WINDOW_SECONDS else None
