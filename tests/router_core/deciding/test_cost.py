"""The cost of a call, to the billionth of a dollar, and when it is unknown."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfall.router_core.catalog.entries import Billing, Prices
from openfall.router_core.deciding.cost import REFUSED, Usage, cost, read_usage
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import ErrorClass
from tests.router_core.decisions import completion

METERED = Billing.METERED
PRICES = Prices(input=3, output=15, cache_read=0.3, cache_write=3.75)
WITHOUT_CACHE = Prices(input=3, output=15)
USED = Usage(input_tokens=1000, output_tokens=100)
CACHED = Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=600, cache_write_tokens=300)


@pytest.mark.parametrize(
    ("prices", "billing", "usage", "dollars"),
    [
        pytest.param(PRICES, METERED, USED, 0.0045, id="a metered call costs its tokens"),
        pytest.param(PRICES, METERED, CACHED, 0.003105, id="the cache has prices of its own"),
        pytest.param(WITHOUT_CACHE, METERED, CACHED, 0.0045, id="a cache without a price costs as input"),
        pytest.param(
            Prices(input=3, output=15, cache_read=0), METERED, CACHED, 0.0027, id="a price of nothing is a price"
        ),
        pytest.param(
            PRICES, METERED, Usage(input_tokens=1000, output_tokens=100, error=ErrorClass.INVALID_OUTPUT), 0.0045,
            id="an answer that was refused afterwards is paid for",
        ),
        pytest.param(PRICES, Billing.LOCAL, CACHED, 0.0, id="our own machine costs nothing"),
        pytest.param(None, Billing.FLAT, Usage(), 0.0, id="a subscription costs nothing more"),
        pytest.param(None, METERED, USED, None, id="no prices are unknown prices"),
        pytest.param(Prices(input=3), METERED, USED, None, id="one unknown price is enough"),
        pytest.param(Prices(output=15), METERED, CACHED, None, id="an unknown price of input is not 0"),
        pytest.param(
            Prices(input=3), METERED, Usage(input_tokens=1000, output_tokens=0), 0.003,
            id="no price is needed for what there is none of",
        ),
        pytest.param(PRICES, METERED, Usage(input_tokens=1000), None, id="unknown output"),
        pytest.param(PRICES, METERED, Usage(output_tokens=100), None, id="unknown input"),
        pytest.param(
            PRICES, METERED, Usage(input_tokens=9, error=ErrorClass.RATE_LIMITED), None,
            id="a refusal that counted tokens was none",
        ),
        pytest.param(
            PRICES, METERED, Usage(error=ErrorClass.CONNECTION, sent=False), 0.0, id="a call never sent is free"
        ),
        pytest.param(PRICES, METERED, Usage(error=ErrorClass.CONNECTION), None, id="a cut line may have cost"),
        pytest.param(
            PRICES, METERED, Usage(input_tokens=10, output_tokens=0, cache_read_tokens=20), 6e-6,
            id="a provider that counts its cache apart does not make a call cheaper than nothing",
        ),
    ],
)  # fmt: skip
def test_cost(prices, billing, usage, dollars):
    assert cost(prices, billing, usage) == (None if dollars is None else pytest.approx(dollars, abs=1e-12))


@pytest.mark.parametrize("error", ErrorClass)
def test_a_failure_without_tokens_is_free_only_when_it_came_before_any(error):
    assert cost(PRICES, METERED, Usage(error=error)) == (0.0 if error in REFUSED else None)


@pytest.mark.parametrize(
    "error",
    [ErrorClass.TIMEOUT, ErrorClass.CONNECTION, ErrorClass.MALFORMED, ErrorClass.OVERLOADED, ErrorClass.CONTENT_FILTER,
     ErrorClass.CONTEXT_OVERFLOW, ErrorClass.INVALID_OUTPUT, ErrorClass.CANCELLED, ErrorClass.OTHER],
)  # fmt: skip
def test_a_failure_that_may_come_midway_is_never_free(error):
    assert error not in REFUSED


def test_the_usage_of_an_outcome():
    answer = completion(input_tokens=4, output_tokens=3, cache_read_tokens=2, cache_write_tokens=1)
    tokens = {"input_tokens": 4, "output_tokens": 3, "cache_read_tokens": 2, "cache_write_tokens": 1}
    assert read_usage(answer) == Usage(**tokens)
    assert read_usage(answer, ErrorClass.INVALID_OUTPUT) == Usage(**tokens, error=ErrorClass.INVALID_OUTPUT)
    assert read_usage(Failure(error_class=ErrorClass.AUTH)) == Usage(error=ErrorClass.AUTH)


tokens = st.integers(0, 2_000_000)
price = st.decimals(0, 200, places=4)


@given(price, price, price, price, tokens, tokens, tokens, tokens)
def test_a_cost_is_exact_to_a_billionth(into, out, read_price, write_price, plain, read, written, output):
    exact = (plain * into + read * read_price + written * write_price + output * out) / Decimal(1_000_000)
    prices = Prices(input=float(into), output=float(out), cache_read=float(read_price), cache_write=float(write_price))
    usage = Usage(
        input_tokens=plain + read + written, output_tokens=output, cache_read_tokens=read, cache_write_tokens=written
    )
    assert abs(Decimal(cost(prices, METERED, usage)) - exact) < Decimal("1e-9")


@given(tokens, tokens, st.none() | st.floats(0, 100), st.none() | st.floats(0, 100))
def test_a_cost_is_never_negative_and_never_guessed(given_tokens, output, into, out):
    dollars = cost(Prices(input=into, output=out), METERED, Usage(input_tokens=given_tokens, output_tokens=output))
    unknown = (given_tokens and into is None) or (output and out is None)
    assert dollars is None if unknown else dollars >= 0
