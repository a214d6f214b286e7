"""The wait before the next call of the same model."""

from __future__ import annotations

from openfall.router_core.catalog.retry_policy import RetryPolicy

JITTER = 0.25
"""A wait varies by up to this share either way, so that jobs that failed together do not return together."""

MIN_SECONDS = 0.001
"""No wait is shorter: on a clock of epoch seconds a model is never due at the moment it failed."""


def delay(failures: int, jitter: float, policy: RetryPolicy, retry_after: float | None = None) -> float:
    """Seconds to wait after the `failures`th failure: `initial_backoff`, x 2, x 4 ... up to `max_backoff`, with jitter.

    `jitter` is in [0, 1].
    The `retry_after` of the provider is a lower bound: jitter only makes it longer.
    """
    if failures < 1:
        raise ValueError(f"failures must be 1 or more, not {failures}")
    wait = min(policy.max_backoff, policy.initial_backoff * 2.0 ** min(failures - 1, 32))
    varied = max(MIN_SECONDS, wait * (1 + JITTER * (2 * jitter - 1)))
    if retry_after is None:
        return varied
    return max(varied, retry_after * (1 + JITTER * jitter))


def longest_delay(jitter: float, policy: RetryPolicy) -> float:
    """The longest wait in seconds: that of a model whose waits no longer double."""
    return delay(32, jitter, policy)
