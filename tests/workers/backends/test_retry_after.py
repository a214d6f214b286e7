"""The wait that an upstream requests, in all its forms."""

from __future__ import annotations

import orjson
import pytest
from multidict import CIMultiDict

from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.error_response import classify
from openfall.workers.backends.retry_after import limit_reset, parse_duration, retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after": "1", "retry-after-ms": "350"}, 0.35),
        ({"retry-after": "1", "retry-after-ms": "soon"}, 1.0),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 09:00:00 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(CIMultiDict(headers)) == seconds


def test_without_retry_after_the_exhausted_limit_gives_the_wait() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-reset-requests": "12ms",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert limit_reset(CIMultiDict(headers)) == 360.0
    assert classify(429, CIMultiDict(headers), b"{}").retry_after == 360.0
    assert classify(429, CIMultiDict({**headers, "retry-after": "2"}), b"{}").retry_after == 2.0


def test_anthropic_sends_the_time_at_which_a_limit_resets() -> None:
    headers = {
        "date": "Sat, 21 Nov 2026 10:00:00 GMT",
        "anthropic-ratelimit-requests-remaining": "9",
        "anthropic-ratelimit-requests-reset": "2026-11-21T10:00:01Z",
        "anthropic-ratelimit-output-tokens-remaining": "0",
        "anthropic-ratelimit-output-tokens-reset": "2026-11-21T10:00:30Z",
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-ratelimit-input-tokens-reset": "soon",
    }
    body = orjson.dumps({"type": "error", "error": {"type": "rate_limit_error", "message": "x"}})
    assert classify(429, CIMultiDict(headers), body).retry_after == 30.0
    assert classify(429, CIMultiDict(headers | {"retry-after": "7"}), body).retry_after == 7.0
    assert classify(429, CIMultiDict(headers | {"date": "today"}), body).retry_after is None
    assert classify(529, CIMultiDict(headers), b"{}").retry_after is None


def test_openrouter_sends_the_wait_for_its_in_flight_budget() -> None:
    body = orjson.dumps({"error": {"code": 402, "metadata": {"limit_source": "openrouter_in_flight_budget"}}})
    failure = classify(402, CIMultiDict({"retry-after": "3"}), body)
    assert (failure.error_class, failure.retry_after) == (E.RATE_LIMITED, 3.0)


def test_google_sends_the_wait_in_the_body() -> None:
    body = [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "36s"}]}}]
    assert classify(429, CIMultiDict(), orjson.dumps(body)).retry_after == 36.0


@pytest.mark.parametrize(("text", "seconds"), [("12ms", 0.012), ("6m0s", 360.0), ("7.66s", 7.66), ("1h2m", 3720.0)])
def test_a_duration_is_numbers_with_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "12", "1764000000000", "s", "1y"])
def test_a_number_without_a_unit_is_not_a_duration(text: str) -> None:
    assert parse_duration(text) is None
