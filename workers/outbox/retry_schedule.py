"""When a webhook or a notice that failed is sent again, and when it is given up. Pure."""

from __future__ import annotations

JOB_RETRY_SECONDS = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 36000.0)
"""Delays between the attempts for a job's webhook: Svix's schedule. The one of Standard Webhooks starts the same."""

NOTICE_INITIAL_SECONDS, NOTICE_MAX_SECONDS, NOTICE_GIVE_UP_SECONDS = 5.0, 600.0, 3 * 86400.0
"""A notice is retried after 5 s, 10 s, 20 s ... 10 min, for three days."""

JITTER_SHARE = 0.2
"""Every delay varies by up to this share, so that deliveries that failed together are not retried together."""

MAX_RETRY_AFTER_SECONDS = 3600.0
"""The longest delay that a server may request."""


def job_retry_delay(tries: int, jitter: float, retry_after: float | None = None) -> float | None:
    """Seconds until the next attempt after `tries` failed attempts for a job's webhook; None: give up."""
    return _spread(JOB_RETRY_SECONDS[tries - 1], jitter, retry_after) if tries <= len(JOB_RETRY_SECONDS) else None


def notice_retry_delay(tries: int, age: float, jitter: float, retry_after: float | None = None) -> float | None:
    """The same for a notice, whose first attempt was `age` seconds ago."""
    delay = _spread(min(NOTICE_MAX_SECONDS, NOTICE_INITIAL_SECONDS * 2.0 ** min(tries - 1, 16)), jitter, retry_after)
    return delay if age + delay <= NOTICE_GIVE_UP_SECONDS else None


def _spread(delay: float, jitter: float, retry_after: float | None) -> float:
    """Apply `jitter` in [0, 1]. The server may request a longer delay, up to the maximum."""
    return max(delay * (1 + JITTER_SHARE * (2 * jitter - 1)), min(retry_after or 0.0, MAX_RETRY_AFTER_SECONDS))
