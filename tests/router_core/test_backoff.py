from __future__ import annotations

import pytest

from router_core.backoff import CEILING, JITTER, delay

EVEN = 0.5
"""The jitter that spreads neither way."""


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 1), (2, 2), (3, 4), (4, 8), (6, 32), (7, CEILING), (50, CEILING), (10_000, CEILING)]
)
def test_a_wait_doubles_with_each_failure_up_to_the_ceiling(failures: int, seconds: float) -> None:
    assert delay(failures, EVEN) == seconds


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 1 - JITTER), (EVEN, 1.0), (1.0, 1 + JITTER)])
def test_jitter_spreads_a_wait_either_way(jitter: float, share: float) -> None:
    assert delay(3, jitter) == pytest.approx(4 * share)


@pytest.mark.parametrize("jitter", [0.0, 0.3, 1.0])
def test_what_a_provider_asked_for_is_never_undercut(jitter: float) -> None:
    assert delay(1, jitter, retry_after=90) == pytest.approx(90 * (1 + JITTER * jitter))


def test_a_provider_that_asks_for_less_does_not_shorten_the_wait() -> None:
    assert delay(5, EVEN, retry_after=2) == 16


@pytest.mark.parametrize("failures", [0, -1])
def test_a_wait_after_no_failure_is_refused(failures: int) -> None:
    with pytest.raises(ValueError, match=f"failures must be 1 or more, not {failures}"):
        delay(failures, EVEN)
