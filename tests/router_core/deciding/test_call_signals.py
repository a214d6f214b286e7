"""What a call reports to the breakers of its model and its key."""

from __future__ import annotations

import pytest

from openfall.router_core.deciding.call_signals import (
    breaker_signal,
    call_signal,
    credential_signal,
    is_error_of_one_request,
    is_slow,
)
from openfall.router_core.deciding.rate_limit_cooldown import COOLDOWN_SECONDS, MAX_COOLDOWN_SECONDS, cooldown
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.vocabulary import CallSignal, CredentialSignal
from openfall.router_core.vocabulary import ErrorClass as E


@pytest.mark.parametrize(
    ("error", "took", "slow_after", "signal"),
    [
        (None, 9.0, None, CallSignal.OK),
        (None, 9.0, 9.0, CallSignal.OK),
        (None, 9.1, 9.0, CallSignal.SLOW),
        (E.TIMEOUT, 9.1, 9.0, CallSignal.FAILURE),
        (E.INVALID_OUTPUT, 9.1, 9.0, CallSignal.NEUTRAL),
        (E.NOT_INSTALLED, 0.1, None, CallSignal.TRIP),
    ],
)
def test_failures_and_slow_answers_are_reported_to_the_breaker(
    error: E | None, took: float, slow_after: float | None, signal: CallSignal
) -> None:
    assert call_signal(error, took, slow_after) is signal


def test_refusals_because_of_a_key_are_reported_to_its_breaker() -> None:
    assert credential_signal(None) is CredentialSignal.FINE
    assert credential_signal(E.AUTH) is CredentialSignal.PARK
    assert credential_signal(E.RATE_LIMITED) is CredentialSignal.COOLDOWN


def test_a_429_is_a_cooldown_of_its_retry_after_with_a_limit() -> None:
    assert cooldown(None, None) == cooldown(E.TIMEOUT, 7.0) == 0.0
    assert cooldown(E.RATE_LIMITED, None) == COOLDOWN_SECONDS
    assert cooldown(E.RATE_LIMITED, 7.0) == 7.0
    assert cooldown(E.RATE_LIMITED, 1e6) == MAX_COOLDOWN_SECONDS


def test_a_refused_key_opens_the_breaker_of_the_model_only_without_a_credential_to_park():
    assert breaker_signal(E.AUTH, 1.0, None, "") is CallSignal.TRIP
    assert breaker_signal(E.AUTH, 1.0, None, "a1b2") is call_signal(E.AUTH, 1.0, None)
    assert breaker_signal(None, 1.0, None, "") is CallSignal.OK


def internal_error(model="small", status=500):
    return Attempt(model=model, backend="box", started_at=1, ended_at=2, error=E.OVERLOADED, http_status=status)


@pytest.mark.parametrize(
    ("earlier", "status", "once_more"),
    [
        ([], 500, False),
        ([internal_error()], 500, True),
        ([internal_error("large")], 500, False),
        ([internal_error(status=503)], 503, False),
        ([internal_error(status=503)], 500, False),
    ],
)
def test_an_internal_error_counts_once_for_each_job(earlier, status, once_more):
    assert is_error_of_one_request(internal_error(status=status), earlier) is once_more


def test_a_call_that_reached_a_time_limit_counts_as_slow_too():
    assert is_slow(E.TIMEOUT)
    assert not is_slow(E.CONNECTION)
    assert not is_slow(None)
