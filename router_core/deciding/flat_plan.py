"""What a call tells of the limits of a subscription: a flat-rate backend that refuses a key until its window resets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from openfall.router_core.vocabulary import ErrorClass

LOW_SHARE = 0.8
"""The share of a learned cap from which on people are notified, and jobs with time go to own machines first."""
LONG_WAIT_SECONDS = 1800.0
"""A 429 that asks for a longer wait is a limit of the plan; a shorter one is a limit of its rate."""
RETRY_SECONDS, MAX_RETRY_SECONDS = 300.0, 86_400.0
"""The first and the longest pause of a plan whose reset is not known. Each further pause is twice as long: 15 refused
calls a week, 17 with jitter."""
_DAY = 86_400.0
_WORDS = (("session", 5 * 3600.0), ("hour", 5 * 3600.0), ("week", 7 * _DAY), ("month", 30 * _DAY), ("dai", _DAY))


@dataclass(frozen=True, slots=True)
class PlanReport:
    """A call at a flat-rate backend. `windows`: the lengths of its limits in seconds. `refused`: the number of the
    window that is used up, from 1; 0: the call was not refused for the plan. `pause_seconds`: until the provider says
    that it resets; 0: it does not."""

    windows: tuple[float, ...] = ()
    refused: int = 0
    pause_seconds: float = 0.0
    is_out: bool = False


def plan_report(
    windows: Sequence[float], error: ErrorClass | None, detail: str, retry_after: float | None
) -> PlanReport:
    """What a call says. A refusal for credit, and a 429 with a long wait, are refusals for the plan."""
    long_wait = error is ErrorClass.RATE_LIMITED and (retry_after or 0.0) >= LONG_WAIT_SECONDS
    if error is not ErrorClass.OUT_OF_CREDITS and not long_wait:
        return PlanReport(tuple(windows))
    return PlanReport(tuple(windows), _refused_window(windows, detail), retry_after or 0.0, is_out=True)


def _refused_window(windows: Sequence[float], detail: str) -> int:
    """The window that a refusal names: the one whose length is nearest to its words, else the shortest."""
    if not windows:
        return 0
    text = detail.lower()
    named = next((length for word, length in _WORDS if word in text), min(windows))
    return 1 + min(range(len(windows)), key=lambda number: abs(windows[number] - named))
