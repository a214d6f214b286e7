"""The buckets of the histograms in `/metrics` and in the statistics. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

INFINITE = "inf"

JOB_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0)
"""Upper bounds of the buckets for the time of a job, in seconds; longer times are in `inf`."""
WAIT_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0)
"""The same for the time from acceptance to the start of the call that ends the job."""
FIRST_TOKEN_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
"""The same for the time from the start of a call to the first piece of its answer."""


def bucket(seconds: float, bounds: Sequence[float]) -> str:
    """The bucket of a duration, by its upper bound."""
    index = bisect_left(bounds, seconds)
    return f"{bounds[index]:g}" if index < len(bounds) else INFINITE
