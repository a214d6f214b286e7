"""Limits of calls and tokens a minute, as numbers of the bucket that the claim fills."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.rate_limits import ChargedCall, corrections, rates_for


def rates(**limits):
    return rates_for(Backend(url="http://box", pool="gpu", **limits))


def test_a_backend_without_limits_has_no_rates():
    assert rates() == ()


@pytest.mark.parametrize(
    ("limits", "texts"),
    [
        ({"requests_per_minute": 50}, ["limit of 50 requests a minute"]),
        ({"requests_per_minute": 1}, ["limit of 1 request a minute"]),
        (
            {"requests_per_minute": 50, "tokens_per_minute": 400_000},
            ["limit of 50 requests a minute", "limit of 400,000 tokens a minute"],
        ),
        (
            {"requests_per_minute": 50, "slots": 4, "reserved_interactive": 1},
            ["limit of 50 requests a minute", "limit of 37 requests a minute for jobs that are not interactive"],
        ),
    ],
)
def test_each_limit_is_named_for_people(limits, texts):
    assert [rate.text for rate in rates(**limits)] == texts


@given(st.integers(1, 100_000), st.floats(0.001, 0.5))
def test_the_burst_and_the_pace_after_it_are_the_limit_of_requests(limit, burst):
    (rate,) = rates(requests_per_minute=limit, burst=burst)
    at_once = round(rate.burst_ms / rate.unit_ms)
    assert 1 <= at_once <= max(1, limit * burst)
    assert (limit - at_once + 1) * rate.unit_ms == pytest.approx(60_000), (
        "the first call after them is in the next minute"
    )


@given(st.integers(1, 10_000_000), st.floats(0.001, 0.5), st.integers(0, 20_000_000))
def test_a_minute_of_calls_with_equal_tokens_has_no_more_than_the_limit(limit, burst, tokens):
    (rate,) = rates(tokens_per_minute=limit, burst=burst)
    cost = rate.cost_ms(tokens)
    if tokens and cost > rate.burst_ms * (1 + 1e-9):  # each starts when the bucket is full again
        calls = -(-60_000 * (1 - 1e-9) // cost)
        assert calls * min(tokens, limit) <= limit * (1 + 1e-6) + 1e-6
    assert cost <= 60_000 / (1 - burst) * (1 + 1e-9)


CALL = ChargedCall("key", interactive=False, tokens=600)
LIMITS = {"requests_per_minute": 60, "tokens_per_minute": 6000, "burst": 0.5, "slots": 2, "reserved_interactive": 1}


@pytest.mark.parametrize(
    ("charged", "used", "called", "moved"),
    [
        pytest.param(CALL, None, True, {}, id="unknown: the estimate stays"),
        pytest.param(CALL, 600, True, {}, id="as estimated"),
        pytest.param(CALL, 100, True, {"key tokens": -10_000, "key other-tokens": -20_000}, id="fewer"),
        pytest.param(CALL, 700, True, {"key tokens": 2_000, "key other-tokens": 4_000}, id="more"),
        pytest.param(
            ChargedCall("", interactive=True, tokens=600), 100, True, {" tokens": -10_000}, id="an interactive call"
        ),
        pytest.param(
            ChargedCall("", interactive=True, tokens=600),
            None,
            False,
            {" requests": -60_000 / 31, " tokens": -12_000},
            id="no call was made: the request is given back too",
        ),
    ],
)
def test_a_call_is_corrected_by_what_it_used(charged, used, called, moved):
    result = corrections(rates(**LIMITS), charged, used, called=called)
    assert result == pytest.approx(moved)


@pytest.mark.parametrize("limits", [{"requests_per_minute": 0}, {"tokens_per_minute": 0}, {"burst": 0}, {"burst": 0.6}])
def test_a_limit_of_nothing_is_refused(limits):
    with pytest.raises(ValidationError):
        rates(**limits)
