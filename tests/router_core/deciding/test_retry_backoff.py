from __future__ import annotations

import pytest

from openfall.router_core.catalog.retry_policy import RetryPolicy
from openfall.router_core.deciding.retry_backoff import JITTER, MIN_SECONDS, delay

EVEN = 0.5
"""The jitter that spreads neither way."""

POLICY = RetryPolicy()


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 1), (2, 2), (3, 4), (4, 8), (6, 32), (7, 60), (50, 60), (10_000, 60)]
)
def test_a_wait_doubles_with_each_failure_up_to_the_maximum(failures: int, seconds: float) -> None:
    assert delay(failures, EVEN, POLICY) == seconds


def test_the_first_wait_and_the_maximum_are_those_of_the_policy() -> None:
    policy = RetryPolicy(initial_backoff=3, max_backoff=10)
    assert [delay(failures, EVEN, policy) for failures in (1, 2, 3)] == [3, 6, 10]


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 1 - JITTER), (EVEN, 1.0), (1.0, 1 + JITTER)])
def test_jitter_spreads_a_wait_either_way(jitter: float, share: float) -> None:
    assert delay(3, jitter, POLICY) == pytest.approx(4 * share)


@pytest.mark.parametrize("jitter", [0.0, 0.3, 1.0])
def test_a_wait_is_never_shorter_than_retry_after(jitter: float) -> None:
    assert delay(1, jitter, POLICY, retry_after=90) == pytest.approx(90 * (1 + JITTER * jitter))


def test_a_short_retry_after_does_not_shorten_the_wait() -> None:
    assert delay(5, EVEN, POLICY, retry_after=2) == 16


@pytest.mark.parametrize("retry_after", [None, 0.0])
def test_a_wait_is_long_enough_to_be_seen_on_a_clock_of_epoch_seconds(retry_after: float | None) -> None:
    now = 1_795_000_000.0
    assert now + delay(1, 0.0, RetryPolicy(initial_backoff=1e-9), retry_after) > now
    assert delay(1, 0.0, RetryPolicy(initial_backoff=1e-9), retry_after) == MIN_SECONDS


@pytest.mark.parametrize("failures", [0, -1])
def test_a_wait_after_no_failure_is_refused(failures: int) -> None:
    with pytest.raises(ValueError, match=f"failures must be 1 or more, not {failures}"):
        delay(failures, EVEN, POLICY)
