"""The wait that an upstream requests, in all its forms."""

from __future__ import annotations

import orjson
import pytest
from multidict import CIMultiDict

from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.error_response import classify
from openfall.workers.backends.retry_after import limit_reset, parse_wire_duration, retry_after

DATE = {"date": "Sat, 21 Nov 2026 10:00:00 GMT"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after": "1", "retry-after-ms": "350"}, 0.35),
        ({"retry-after": "1", "retry-after-ms": "soon"}, 1.0),
        ({"x-retry-after-ms": "350"}, 0.35),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 09:00:00 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 0.0),
        ({"retry-after": "5s"}, 5.0),
        ({"retry-after": "1m30s"}, 90.0),
        ({"retry-after": "1795255230", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "2026-11-21T10:00:30Z", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "1795255100", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, None),
        ({"retry-after": "2026-11-21T09:00:30Z", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, None),
        ({"x-ms-retry-after-ms": "5000"}, 5.0),
        ({"retry-after": "3, 3"}, 3.0),
        ({"retry-after": "5,10"}, 10.0),
        ({"retry-after": "soon, 4"}, 4.0),
        ({"retry-after": "3, 3", "retry-after-ms": "2500, 2500"}, 2.5),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT, Sat, 21 Nov 2026 10:00:40 GMT"} | DATE, 40.0),
        ({"retry-after": "Sat Nov 21 10:00:30 2026"} | DATE, 30.0),
        ({"retry-after": "Saturday, 21-Nov-26 10:00:30 GMT"} | DATE, 30.0),
        ({"retry-after": "2026-11-21 10:00:30"} | DATE, 30.0),
        ({"retry-after": "1795255230.5"} | DATE, 30.5),
        ({"retry-after": "7 seconds"}, 7.0),
        ({"retry-after": "1 minute 30 seconds"}, 90.0),
        ({"retry-after": '"7"'}, 7.0),
        ({"retry-after": "+7"}, 7.0),
        ({"retry-after": "7."}, 7.0),
        ({"retry-after": ".5"}, 0.5),
        ({"x-retry-after": "7"}, 7.0),
        ({"x-ratelimit-retry-after": "7"}, 7.0),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": ","}, None),
        ({"retry-after": "99999999999999"}, None),
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


@pytest.mark.parametrize("name", ["x-rate-limit-reset", "rate-limit-reset", "X-Rate-Limit-Reset-Tokens"])
def test_the_name_of_a_reset_may_have_one_more_hyphen(name: str) -> None:
    headers = {name: "30", name.lower().replace("reset", "remaining"): "0", "x-ratelimit-reset-requests": "1"}
    assert limit_reset(CIMultiDict(headers)) == 30.0


def test_a_header_too_long_for_a_wait_states_none() -> None:
    long = "1h" * 300
    headers = {"retry-after": long, "x-ratelimit-reset-tokens": long, "ratelimit": "x" * 300 + ";r=0;t=12"}
    assert retry_after(CIMultiDict(headers)) is None
    assert limit_reset(CIMultiDict(headers)) is None
    assert retry_after(CIMultiDict({"retry-after": "Sat, 21 Nov 2026 10:00:00 GMT" + " " * 300})) is None


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


@pytest.mark.parametrize(
    ("text", "seconds"), [("12ms", 0.012), ("6m0s", 360.0), ("7.66s", 7.66), ("1h2m", 3720.0), ("2 min", 120.0)]
)
def test_a_duration_is_numbers_with_units(text: str, seconds: float) -> None:
    assert parse_wire_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "12", "1764000000000", "s", "1y"])
def test_a_number_without_a_unit_is_not_a_duration(text: str) -> None:
    assert parse_wire_duration(text) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-reset-tokens-minute": "11.38", "x-ratelimit-remaining-tokens-minute": "0"}, 11.38),
        ({"x-ratelimit-reset-requests": "1795255230"} | DATE, 30.0),
        ({"x-ratelimit-reset-requests": "2026-11-21T10:00:30Z"} | DATE, 30.0),
        ({"x-ratelimit-reset": "30"}, 30.0),
        ({"ratelimit-reset": "12"}, 12.0),
        ({"x-ratelimit-reset": "1795255230000"} | DATE, 30.0),
        ({"x-ratelimit-reset-requests": "tomorrow"}, None),
        ({"ratelimit-reset": "12, 30"}, 30.0),
        ({"ratelimit-reset-tokens": "12"}, 12.0),
        ({"ratelimit": "limit=100, remaining=0, reset=12"}, 12.0),
        ({"ratelimit": '"default";r=0;t=12'}, 12.0),
        ({"ratelimit": '"burst";r=5;t=2, "daily";r=0;t=120'}, 120.0),
        ({"ratelimit": '"api";r=5;t=30'}, 30.0),
        ({"ratelimit": "100"}, None),
    ],
)
def test_a_limit_renews_after_seconds_or_a_duration_or_at_a_moment(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert classify(429, CIMultiDict(headers), b"{}").retry_after == seconds


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached. Please try again in 1m2.5s. Visit", 62.5),
        ("Limit 6000, Used 5900, Requested 500. Please try again in 640ms. Need more tokens?", 0.64),
        ("have exceeded token rate limit. Please retry after 26 seconds.", 26.0),
        ("Please wait 3 minutes and 10 seconds", 190.0),
        ("Please retry in 36.4s.", 36.4),
        ("try again in 1h12m33s", 4353.0),
        ("Your quota will reset after 16h5m.", 57900.0),
        ("available in 2 days", 172_800.0),
        ("请求过于频繁，请在 5 秒后重试", 5.0),
        ("请在 2 分钟后重试", 120.0),
        ("Try again later. Limit 30000 tokens", None),
        ("please try again with 5 messages", None),
        ("wait until 2026", None),
        ("retry your request with 20 stops", None),
    ],
)
def test_the_words_of_an_error_may_state_the_wait(message: str, seconds: float | None) -> None:
    body = orjson.dumps({"error": {"message": message}})
    assert classify(429, CIMultiDict(), body).retry_after == pytest.approx(seconds)
    assert classify(500, CIMultiDict(), body).retry_after == pytest.approx(seconds)
    assert classify(404, CIMultiDict(), body).retry_after is None


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"error": {"message": "x", "retry_after": 7}}, 7.0),
        ({"error": "Model m is currently loading", "estimated_time": 20.0}, 20.0),
        ({"message": "x", "retry_after": "7"}, 7.0),
        ({"error": {"message": "x", "metadata": {"retry_after_seconds": 3}}}, 3.0),
        ({"error": {"message": "x", "details": [{"retryDelay": {"seconds": "21", "nanos": 500000000}}]}}, 21.5),
        ({"error": {"message": "x", "details": [{"retryDelay": {"seconds": "soon"}}]}}, None),
        ({"error": {"message": "x", "retry_after": True}}, None),
        ({"error": {"message": "x", "details": {"retry_after_ms": 1500}}}, 1.5),
        ({"error": {"message": "x", "reset_after": 30}}, 30.0),
    ],
)
def test_a_field_of_an_error_may_state_the_wait(body: object, seconds: float | None) -> None:
    assert classify(503, CIMultiDict(), orjson.dumps(body)).retry_after == seconds
