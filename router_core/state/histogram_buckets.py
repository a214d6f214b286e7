"""The buckets of the histograms in `/metrics`, in the statistics and in the ledger. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from math import ceil, inf

INFINITE = "inf"

JOB_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0)
"""Upper bounds of the buckets for the time of a job, in seconds; longer times are in `inf`."""
WAIT_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0)
"""The same for the time from acceptance to the start of the call that ends the job."""
FIRST_TOKEN_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
"""The same for the time from the start of a call to the first piece of its answer."""
COST_BOUNDS = (0.0, *(float(digit * 10**power) for power in range(3, 10) for digit in (1, 2, 5)), 1e10)
"""Upper bounds of the buckets for the cost of a call, in nanodollars: nothing, then from a millionth to 10 dollars."""


def bucket(value: float, bounds: Sequence[float]) -> str:
    """The bucket of a value, by its upper bound."""
    index = bisect_left(bounds, value)
    return f"{bounds[index]:g}" if index < len(bounds) else INFINITE


@lru_cache
def bucket_names(bounds: Sequence[float]) -> tuple[str, ...]:
    """The names of all buckets, in their order."""
    return (*(f"{bound:g}" for bound in bounds), INFINITE)


def quantile(buckets: Sequence[int], bounds: Sequence[float], most: float, share: float) -> float | None:
    """The bound below which this share of the values lies, estimated within its bucket, and never above the greatest
    value `most`; None: there is no value. `buckets` count the values by `bounds`."""
    rank = share * sum(buckets)
    if not rank:
        return None
    lower, below = 0.0, 0
    for bound, amount in zip((*bounds, inf), buckets, strict=True):
        if below + amount >= rank:
            return min(lower + (min(bound, most) - lower) * (rank - below) / amount, most)
        lower, below = bound, below + amount
    raise ValueError("a share is at most 1")


def quantile_bound(buckets: Sequence[int], bounds: Sequence[float], total: float, share: float) -> float | None:
    """A value that this share of the observations does not exceed; None: there is none, or it is not known.

    It is the upper bound of a bucket. It is less where the `total` of all observations leaves less: the others are at
    least the lower bounds of theirs."""
    rank = ceil(share * sum(buckets))
    lower_bounds, upper_bounds = (0.0, *bounds), (*bounds, inf)
    rest = total - sum(lower * amount for lower, amount in zip(lower_bounds, buckets, strict=True))
    below = 0
    for lower, upper, amount in zip(lower_bounds, upper_bounds, buckets, strict=True):
        below += amount
        if rank and below >= rank:
            bound = min(upper, lower + rest / (below - rank + 1)) if rest >= 0 else upper
            return bound if bound < inf else None
    return None
