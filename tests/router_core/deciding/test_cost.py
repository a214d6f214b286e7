"""The cost of a call, to the nanodollar, and when it is unknown."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfall.router_core.catalog.pools import Billing
from openfall.router_core.catalog.prices import LongPromptPrices, Prices, TokenPrices, rate_for
from openfall.router_core.deciding.cost import FREE_ERRORS, call_cost, usage_cost
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.jobs.token_usage import Usage
from openfall.router_core.vocabulary import ErrorClass
from tests.router_core.decisions import completion

METERED = Billing.METERED
PRICES = Prices(input=3, output=15, cache_read=0.3, cache_write=3.75)
WITHOUT_CACHE = Prices(input=3, output=15)
HOUR = Prices(input=3, output=15, cache_write=3.75, cache_write_1h=6)
LONG = Prices(input=3, output=15, above=LongPromptPrices(tokens=200_000, input=6, output=22.5))
TIERS = Prices(
    input=4, output=16, flex=TokenPrices(input=2, output=8), batch=TokenPrices(input=1, output=4),
    priority=TokenPrices(input=8, output=32), above=LongPromptPrices(tokens=5_000, input=40, output=160),
)  # fmt: skip
FEES = Prices(input=3, output=15, request=0.005, web_search=0.01)


def used(read=1000, written=100, **more):
    return Usage(input_tokens=read, output_tokens=written, **more)


CACHED = used(cache_read_tokens=600, cache_write_tokens=300)


@pytest.mark.parametrize(
    ("prices", "usage", "nanodollars"),
    [
        pytest.param(PRICES, used(), 4_500_000, id="a metered call costs its tokens"),
        pytest.param(PRICES, CACHED, 3_105_000, id="the cache has prices of its own"),
        pytest.param(WITHOUT_CACHE, CACHED, 4_500_000, id="a cache without a price costs as input"),
        pytest.param(
            Prices(input=3, output=15, cache_read=0), CACHED, 2_700_000, id="a price of nothing is a price"
        ),
        pytest.param(
            HOUR, used(cache_write_tokens=600, cache_write_1h_tokens=400), 5_850_000,
            id="an hour's cache costs more than that of five minutes",
        ),
        pytest.param(
            HOUR, used(cache_write_tokens=100, cache_write_1h_tokens=900), 4_800_000,
            id="no more is stored for an hour than is stored at all",
        ),
        pytest.param(None, used(), None, id="no prices are unknown prices"),
        pytest.param(Prices(input=3), used(), None, id="one unknown price is enough"),
        pytest.param(Prices(output=15), CACHED, None, id="an unknown price of input is not 0"),
        pytest.param(Prices(input=3), used(written=0), 3_000_000, id="no price is needed for what there is none of"),
        pytest.param(PRICES, Usage(input_tokens=1000), None, id="unknown output"),
        pytest.param(PRICES, Usage(output_tokens=100), None, id="unknown input"),
        pytest.param(
            PRICES, used(10, 0, cache_read_tokens=20), 6_000,
            id="a provider that counts its cache apart does not make a call cheaper than nothing",
        ),
        pytest.param(LONG, used(200_000, 0), 600_000_000, id="up to the limit a prompt costs the lower price"),
        pytest.param(LONG, used(200_001, 10), 1_200_231_000, id="a longer prompt costs more for all of its tokens"),
        pytest.param(FEES, used(), 9_500_000, id="a fee for each request"),
        pytest.param(FEES, used(web_searches=3), 39_500_000, id="a fee for each web search"),
        pytest.param(TIERS, used(service_tier="default"), 5_600_000, id="the tier that the answer names: the live one"),
        pytest.param(TIERS, used(service_tier="flex"), 2_800_000, id="the tier flex"),
        pytest.param(TIERS, used(service_tier="batch"), 1_400_000, id="the tier batch"),
        pytest.param(TIERS, used(service_tier="priority"), 11_200_000, id="the tier priority"),
        pytest.param(TIERS, used(service_tier="fast"), 11_200_000, id="fast is Anthropic's priority"),
        pytest.param(PRICES, used(service_tier="priority"), None, id="a dearer tier without a price is unknown"),
        pytest.param(PRICES, used(service_tier="flex"), 4_500_000, id="a cheaper tier without a price costs as live"),
        pytest.param(
            TIERS, used(6_000, 0, service_tier="flex"), 240_000_000, id="a long prompt of a tier costs the dearest"
        ),
        pytest.param(TIERS, used(6_000, 0, service_tier="priority"), None, id="or it is unknown"),
        pytest.param(PRICES, used(cost_nusd=77), 77, id="what the provider itself charges is the cost"),
        pytest.param(None, Usage(cost_nusd=0), 0, id="also when nothing else is known"),
        pytest.param(Prices(input=0.0005, output=1), used(1, 0), 1, id="half a nanodollar is one"),
        pytest.param(Prices(input=0.000499, output=1), used(1, 0), 0, id="less than half is none"),
    ],
)  # fmt: skip
def test_the_cost_of_an_answer(prices, usage, nanodollars):
    assert call_cost(prices, METERED, completion(usage=usage)) == nanodollars


@pytest.mark.parametrize(
    ("billing", "outcome", "error", "nanodollars"),
    [
        pytest.param(Billing.LOCAL, completion(usage=CACHED), None, 0, id="our own machine costs nothing"),
        pytest.param(Billing.FLAT, completion(), None, 0, id="a subscription costs nothing more"),
        pytest.param(
            METERED, completion(usage=used()), ErrorClass.INVALID_OUTPUT, 4_500_000,
            id="an answer that was refused afterwards is paid for",
        ),
        pytest.param(
            METERED, Failure(error_class=ErrorClass.CONTENT_FILTER, usage=used()), ErrorClass.CONTENT_FILTER, 4_500_000,
            id="an answer that a filter stopped is paid for",
        ),
        pytest.param(
            METERED, Failure(error_class=ErrorClass.RATE_LIMITED, usage=Usage(input_tokens=9)), ErrorClass.RATE_LIMITED,
            None, id="a refusal that counted tokens was none",
        ),
        pytest.param(
            METERED, Failure(error_class=ErrorClass.CONNECTION, never_sent=True), ErrorClass.CONNECTION, 0,
            id="a call never sent is free",
        ),
        pytest.param(
            METERED, Failure(error_class=ErrorClass.CONNECTION), ErrorClass.CONNECTION, None,
            id="a cut line may have cost",
        ),
    ],
)  # fmt: skip
def test_the_cost_of_a_call(billing, outcome, error, nanodollars):
    assert call_cost(PRICES, billing, outcome, error) == nanodollars


@pytest.mark.parametrize("error", ErrorClass)
def test_a_failure_without_tokens_is_free_only_when_it_came_before_any(error):
    assert call_cost(PRICES, METERED, Failure(error_class=error), error) == (0 if error in FREE_ERRORS else None)


@pytest.mark.parametrize(
    "error",
    [ErrorClass.TIMEOUT, ErrorClass.CONNECTION, ErrorClass.MALFORMED, ErrorClass.OVERLOADED, ErrorClass.CONTENT_FILTER,
     ErrorClass.CONTEXT_OVERFLOW, ErrorClass.INVALID_OUTPUT, ErrorClass.CANCELLED, ErrorClass.OTHER],
)  # fmt: skip
def test_a_failure_that_may_come_midway_is_never_free(error):
    assert error not in FREE_ERRORS


def test_a_rate_has_no_price_where_the_file_has_none():
    rate = rate_for(Prices(output=1), "", 0)
    assert rate is not None
    assert (rate.input, rate.output, rate.cache_read, rate.cache_write_1h) == (None, 1_000_000, None, None)


tokens = st.integers(0, 2_000_000)
price = st.integers(0, 200_000_000)


@given(price, price, price, price, tokens, tokens, tokens, tokens)
def test_a_cost_is_exact_and_rounded_once_half_up(into, out, read_price, write_price, plain, read, written, output):
    exact = Fraction(plain * into + read * read_price + written * write_price + output * out, 1000)
    prices = Prices(input=into / 1e6, output=out / 1e6, cache_read=read_price / 1e6, cache_write=write_price / 1e6)
    usage = Usage(
        input_tokens=plain + read + written, output_tokens=output, cache_read_tokens=read, cache_write_tokens=written
    )
    assert usage_cost(prices, usage) == (exact + Fraction(1, 2)).__floor__()


@given(tokens, tokens, st.none() | st.floats(0, 100), st.none() | st.floats(0, 100))
def test_a_cost_is_never_negative_and_never_guessed(given_tokens, output, into, out):
    cost = usage_cost(Prices(input=into, output=out), used(given_tokens, output))
    unknown = (given_tokens and into is None) or (output and out is None)
    assert cost is None if unknown else cost >= 0
