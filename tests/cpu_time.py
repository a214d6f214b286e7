"""The CPU time of a piece of work, for bounds that a busy machine does not break."""

from __future__ import annotations

import time
from collections.abc import Callable

MAX_RUNS = 5


def least_cpu_seconds(work: Callable[[], object], bound: float) -> float:
    """The least CPU time, in seconds, that this thread needs for `work` in up to `MAX_RUNS` runs. The first run below
    `bound` is the last one.

    A shared core, a cold cache, the kernel or the garbage collector make a run slower, and nothing makes it faster.
    """
    least = float("inf")
    for _ in range(MAX_RUNS):
        began = time.thread_time()
        work()
        least = min(least, time.thread_time() - began)
        if least < bound:
            break
    return least
