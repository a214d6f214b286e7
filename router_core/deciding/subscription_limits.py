"""What a call reports about the limits of a subscription: a flat-rate backend that refuses a key until its window
resets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import ErrorClass, LimitScope

LOW_SHARE = 0.8
"""The share of a learned cap from which on people are notified, and jobs with time go to own machines first."""
LONG_WAIT_SECONDS = 1800.0
"""A 429 that asks for a longer wait is a limit of the plan; a shorter one is a limit of its rate."""
RETRY_SECONDS, MAX_RETRY_SECONDS = 300.0, 86_400.0
"""The first and the longest pause of a plan whose reset is not known. Each further pause is twice as long: 15 refused
calls a week, 17 with jitter. A provider that asks for a shorter wait than the first one is not believed."""
_DAY = 86_400.0
MAX_PAUSE_SECONDS = 32 * _DAY
"""The longest pause for which a provider can ask: a month."""
_WORDS = (
    ("session", 5 * 3600.0), ("hour", 5 * 3600.0), ("week", 7 * _DAY), ("7-day", 7 * _DAY), ("seven_day", 7 * _DAY),
    ("month", 30 * _DAY), ("cycle", 30 * _DAY), ("dai", _DAY), ("day", _DAY),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlanShare:
    """The used share of one window of a subscription, as its provider names it. `number`: which window of the provider,
    from 1. `permille`: 1000 is all of it. `resets_in_seconds`: from the response on."""

    number: int
    window_seconds: int
    permille: int
    resets_in_seconds: int


@dataclass(frozen=True, slots=True)
class PlanReport:
    """A call at a flat-rate backend. `windows`: the lengths of its limits in seconds. `refused`: the number of the
    window that is used up, from 1; 0: the call was not refused for the plan, or the window is not known.
    `pause_seconds`: until the provider says that it resets; 0: it does not. `is_out`: the call was refused for the
    plan; `scope`: for what then. `answered`: it was no failure. `shares`: what the response says of the windows of
    the provider."""

    windows: tuple[float, ...] = ()
    refused: int = 0
    pause_seconds: float = 0.0
    is_out: bool = False
    scope: LimitScope = LimitScope.UNKNOWN
    answered: bool = False
    shares: tuple[PlanShare, ...] = ()


def plan_report(windows: Sequence[float], failure: Failure | None) -> PlanReport:
    """What a call says; `failure` None: it was answered.

    A refusal for credit is one of the key. A 429 is a refusal for the plan if its limit counts hours or days, or if it
    asks for a long wait.
    """
    windows = tuple(windows)
    if failure is None or failure.error_class not in (ErrorClass.OUT_OF_CREDITS, ErrorClass.RATE_LIMITED):
        return PlanReport(windows, answered=failure is None)
    is_credit = failure.error_class is ErrorClass.OUT_OF_CREDITS
    wait = min(failure.retry_after or 0.0, MAX_PAUSE_SECONDS)
    if not is_credit and not failure.limit.is_lasting and wait < LONG_WAIT_SECONDS:
        return PlanReport(windows)
    pause = wait if wait >= (RETRY_SECONDS if is_credit else LONG_WAIT_SECONDS) else 0.0
    return PlanReport(
        windows,
        0 if wait and not pause else _refused_window(windows, failure.detail),
        pause,
        is_out=True,
        scope=LimitScope.KEY if is_credit else failure.limit.scope,
    )


def _refused_window(windows: Sequence[float], detail: str) -> int:
    """The window that a refusal names: the one whose length is nearest to its words, else the shortest."""
    if not windows:
        return 0
    text = detail.lower()
    named = next((length for word, length in _WORDS if word in text), min(windows))
    return 1 + min(range(len(windows)), key=lambda number: abs(windows[number] - named))
