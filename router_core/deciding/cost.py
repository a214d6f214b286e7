"""The cost of a call. Unknown is None and never 0."""

from __future__ import annotations

from dataclasses import dataclass

from openfall.router_core.catalog.entries import Billing, Prices
from openfall.router_core.jobs.outcome import Completion, Outcome
from openfall.router_core.vocabulary import ErrorClass

TOKENS_PER_PRICE_UNIT = 1_000_000
"""Prices are for this many tokens."""

REFUSED = frozenset({
    ErrorClass.BAD_REQUEST, ErrorClass.UNSUPPORTED, ErrorClass.RATE_LIMITED, ErrorClass.AUTH,
    ErrorClass.OUT_OF_CREDITS, ErrorClass.FORBIDDEN, ErrorClass.NOT_INSTALLED, ErrorClass.NO_VRAM, ErrorClass.BUDGET,
    ErrorClass.LOCAL_ONLY, ErrorClass.PAUSED, ErrorClass.NO_WORKER, ErrorClass.WORKER_LIMIT,
})  # fmt: skip
"""Errors that come only before the first token. Any other error may end an answer midway, which is paid for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The usage of a call, as the provider reported it. `input_tokens` contain the tokens of its cache.

    `error` None: it answered. `sent` False: the request never reached the provider (connection
    refused); None: the class of the error is all that is known.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    error: ErrorClass | None = None
    sent: bool | None = None


def read_usage(outcome: Outcome, error: ErrorClass | None = None) -> Usage:
    """The usage in an outcome. `error`: why an answer was refused after all (`invalid_output`)."""
    if not isinstance(outcome, Completion):
        return Usage(error=outcome.error_class)
    return Usage(
        input_tokens=outcome.input_tokens,
        output_tokens=outcome.output_tokens,
        cache_read_tokens=outcome.cache_read_tokens,
        cache_write_tokens=outcome.cache_write_tokens,
        error=error,
    )


def cost(prices: Prices | None, billing: Billing, usage: Usage) -> float | None:
    """US dollars for one call; None: unknown.

    1. Local and flat-rate calls cost nothing more.
    2. A metered call with known tokens costs their price, whether it failed or not: cache reads, cache writes and the
       rest of the input each at its own price (the default of the cache prices is the input price).
    3. A call that was refused before the first token costs nothing.
    4. The cost of any other call is unknown. Only tokens that were used need a price.
    """
    if billing is not Billing.METERED or usage.sent is False:
        return 0.0
    if usage.input_tokens is None or usage.output_tokens is None:
        untouched = usage.input_tokens is None and usage.output_tokens is None
        return 0.0 if untouched and usage.error in REFUSED else None
    prices = prices or Prices()
    read, written = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    parts = (
        (max(0, usage.input_tokens - read - written), prices.input),
        (read, prices.input if prices.cache_read is None else prices.cache_read),
        (written, prices.input if prices.cache_write is None else prices.cache_write),
        (usage.output_tokens, prices.output),
    )
    dollars = 0.0
    for tokens, price in parts:
        if tokens and price is None:
            return None
        dollars += tokens * (price or 0.0) / TOKENS_PER_PRICE_UNIT
    return dollars
