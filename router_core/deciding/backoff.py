"""How long to wait before the same model is asked again."""

from __future__ import annotations

from openfall.router_core.catalog.policies import RetryPolicy

JITTER = 0.25
"""A wait is spread by up to this share either way, so that jobs that failed together do not return together."""

LEAST = 0.001
"""Seconds. No wait is shorter, so that on a clock of epoch seconds a model is never due at the moment it failed."""


def delay(failures: int, jitter: float, policy: RetryPolicy, retry_after: float | None = None) -> float:
    """Seconds to wait after the `failures`th failure: `base`, x 2, x 4 ... `most`, spread by `jitter` in [0, 1].

    What the provider asked for (`retry_after`) is a floor: it is never undercut, only spread upwards.
    """
    if failures < 1:
        raise ValueError(f"failures must be 1 or more, not {failures}")
    wait = min(policy.max_backoff, policy.initial_backoff * 2.0 ** min(failures - 1, 32))
    spread = max(LEAST, wait * (1 + JITTER * (2 * jitter - 1)))
    if retry_after is None:
        return spread
    return max(spread, retry_after * (1 + JITTER * jitter))
