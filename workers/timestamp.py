"""Moments as text."""

from __future__ import annotations

from datetime import datetime


def iso_time(moment: float) -> str:
    """A moment (epoch seconds) in the local time zone: `2026-11-21T08:00:00+01:00`."""
    return datetime.fromtimestamp(int(moment)).astimezone().isoformat()
