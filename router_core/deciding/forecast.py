"""What a window of a budget is expected to cost at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from openfall.router_core.catalog.budget_windows import BudgetWindow

MIN_SHARE = 0.02
"""The share of a window before which its own pace says nothing: half an hour of a day."""
EARLIER_WINDOWS = 4
"""Earlier windows that a forecast reads."""
EARLY_SHARE = 0.5
"""The share of a window in which people are notified of a forecast above the limit. Later `soft` is enough."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The expected cost of a whole window in nanodollars. `exceeds_at`: when the limit is reached at that pace, in
    epoch seconds; None: not in this window."""

    nusd: int
    exceeds_at: float | None = None


def forecast(window: BudgetWindow, now: float, used: int, limit: int, earlier: Sequence[int]) -> Forecast | None:
    """The forecast of a window that has used `used` nanodollars; None: nothing is known yet, or it never ends.

    The rest of the window costs a mean of two paces: that of the window so far, and the median of `earlier` windows.
    The pace so far counts as much as the share of the window that has passed. Without earlier windows it counts alone.
    """
    length = window.ends_at - window.starts_at
    share = (now - window.starts_at) / length
    if window.starts_at <= 0 or not 0 <= share <= 1 or (share < MIN_SHARE and not earlier):
        return None
    own = used / max(share, MIN_SHARE)
    usual = median(earlier) if earlier else own
    whole = share * own + (1 - share) * usual
    rest = (1 - share) * whole
    if used >= limit:
        return Forecast(used + round(rest), now)
    exceeds_at = now + (limit - used) / rest * (window.ends_at - now) if used + rest > limit else None
    return Forecast(used + round(rest), exceeds_at)


def warns_early(window: BudgetWindow, now: float, expected: Forecast | None) -> bool:
    """Whether people are notified of a forecast: the limit is reached in this window, and it is young."""
    if expected is None or expected.exceeds_at is None:
        return False
    return now - window.starts_at < EARLY_SHARE * (window.ends_at - window.starts_at)
