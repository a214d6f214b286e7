"""How many workers died while they ran a job, in words. Every count of them is the one of its record."""

from __future__ import annotations


def describe_crashes(crashes: int) -> str:
    """`5 workers died while they ran it`. 0: the number is not known."""
    if crashes == 1:
        return "1 worker died while it ran it"
    return f"{f'{crashes:,} workers' if crashes else 'Its workers'} died while they ran it"
