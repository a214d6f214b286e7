"""How long a request without a stream is held open. Pure."""

from __future__ import annotations

from collections.abc import Mapping

MARGIN_SECONDS = 2.0
"""The answer must leave the gateway before the client gives up."""
_DECLARED = ("x-stainless-read-timeout", "x-stainless-timeout")
"""Headers in which the SDKs of OpenAI and Anthropic state their own time limit, in seconds."""


def wait_limit(headers: Mapping[str, str], wanted: float | None, wait_at_most: float) -> float:
    """Seconds: the shortest of what the caller wants, what its client declares, and what the gateway allows."""
    declared = [seconds for name in _DECLARED if (seconds := _seconds(headers.get(name, ""))) is not None]
    limits = [wait_at_most, *(max(1.0, seconds - MARGIN_SECONDS) for seconds in declared)]
    return min(limits if wanted is None else [wanted, *limits])


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None
