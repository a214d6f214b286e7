"""A duration in words."""

from __future__ import annotations

from datetime import datetime


def format_age(seconds: float | None) -> str:
    """`-`, `4s`, `12m`, `3h`, `2d`."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def format_time(moment: float) -> str:
    """An epoch time in the local time zone: `2026-11-21 08:00:00+01:00`."""
    return datetime.fromtimestamp(moment).astimezone().isoformat(sep=" ", timespec="seconds")
