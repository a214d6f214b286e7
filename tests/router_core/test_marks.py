"""What the end of a call tells breakers and keys."""

from __future__ import annotations

import pytest

from router_core.marks import COOLDOWN, LONGEST_COOLDOWN, breaker_mark, cooldown, credential_mark
from router_core.outcome import BreakerMark, CredentialMark
from router_core.outcome import ErrorClass as E


@pytest.mark.parametrize(
    ("error", "took", "slow_after", "mark"),
    [
        (None, 9.0, None, BreakerMark.OK),
        (None, 9.0, 9.0, BreakerMark.OK),
        (None, 9.1, 9.0, BreakerMark.SLOW),
        (E.TIMEOUT, 9.1, 9.0, BreakerMark.FAILURE),
        (E.INVALID_OUTPUT, 9.1, 9.0, BreakerMark.NEUTRAL),
        (E.NOT_INSTALLED, 0.1, None, BreakerMark.TRIP),
    ],
)
def test_a_breaker_hears_of_failures_and_of_slow_answers(
    error: E | None, took: float, slow_after: float | None, mark: BreakerMark
) -> None:
    assert breaker_mark(error, took, slow_after) is mark


def test_a_key_hears_of_what_was_refused_because_of_it() -> None:
    assert credential_mark(None) is CredentialMark.FINE
    assert credential_mark(E.AUTH) is CredentialMark.PARK
    assert credential_mark(E.RATE_LIMITED) is CredentialMark.COOLDOWN


def test_everybody_waits_after_a_429_for_as_long_as_it_says_within_reason() -> None:
    assert cooldown(None, None) == cooldown(E.TIMEOUT, 7.0) == 0.0
    assert cooldown(E.RATE_LIMITED, None) == COOLDOWN
    assert cooldown(E.RATE_LIMITED, 7.0) == 7.0
    assert cooldown(E.RATE_LIMITED, 1e6) == LONGEST_COOLDOWN
