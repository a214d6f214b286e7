"""How long to wait before the same model is asked again."""

from __future__ import annotations

BASE = 1.0
CEILING = 60.0
JITTER = 0.25
"""A wait is spread by up to this share either way, so that jobs that failed together do not return together."""


def delay(failures: int, jitter: float, retry_after: float | None = None) -> float:
    """Seconds to wait after the `failures`th failure in a row: 1, 2, 4 ... 60, spread by `jitter` in [0, 1].

    What the provider asked for (`retry_after`) is a floor: it is never undercut, only spread upwards.
    """
    if failures < 1:
        raise ValueError(f"failures must be 1 or more, not {failures}")
    wait = min(CEILING, BASE * 2.0 ** min(failures - 1, 32))
    spread = wait * (1 + JITTER * (2 * jitter - 1))
    if retry_after is None:
        return spread
    return max(spread, retry_after * (1 + JITTER * jitter))
