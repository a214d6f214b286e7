"""A duration in words."""

from __future__ import annotations


def format_age(seconds: float | None) -> str:
    """`-`, `4s`, `12m`, `3h`, `2d`."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"
