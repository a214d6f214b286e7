"""The retry budget of a worker: repeated calls are a share of its calls, and a few are always allowed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

WINDOW_SECONDS = 60.0
"""Calls and retries count for this time."""

MIN_RETRIES_PER_SECOND = 0.5
"""The rate of retries that is always allowed: a worker with few calls must be able to repeat them too."""


@dataclass(slots=True)
class _Second:
    """The first calls and the retries of one second."""

    at: int
    calls: int = 0
    retries: int = 0


@dataclass(slots=True)
class RetryBudget:
    """At most `share` retries for each call, beside `MIN_RETRIES_PER_SECOND`. Times are in seconds, of any one clock.

    The rule is that of the retry budgets of Finagle and Tower: a share of the calls, a minimum rate, and credits that
    expire. It is kept in the process, so it holds for calls that fail at the same moment too.
    """

    share: float
    _seconds: deque[_Second] = field(default_factory=deque, init=False)

    def note_call(self, now: float) -> None:
        """A model was called for a job for the first time."""
        self._second(now).calls += 1

    def note_retry(self, now: float) -> None:
        """A model will be called for a job once more."""
        self._second(now).retries += 1

    def may_retry(self, now: float) -> bool:
        """Whether the budget allows one more retry."""
        self._second(now)
        calls = sum(second.calls for second in self._seconds)
        retries = sum(second.retries for second in self._seconds)
        return retries < self.share * calls + MIN_RETRIES_PER_SECOND * WINDOW_SECONDS

    def _second(self, now: float) -> _Second:
        """The counts of this second. Those that are older than the window are dropped."""
        while self._seconds and self._seconds[0].at <= now - WINDOW_SECONDS:
            self._seconds.popleft()
        if not self._seconds or self._seconds[-1].at < int(now):
            self._seconds.append(_Second(int(now)))
        return self._seconds[-1]
