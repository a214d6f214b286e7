"""What a call cost. Unknown stays unknown: it is None, and never taken for 0."""

from __future__ import annotations

from dataclasses import dataclass

from openfall.router_core.catalog.entries import Billing, Prices
from openfall.router_core.jobs.outcome import (
    Completion,
    Outcome,
)
from openfall.router_core.vocabulary import (
    ErrorClass,
)

PER = 1_000_000
"""Prices are for this many tokens."""

REFUSED = frozenset({
    ErrorClass.BAD_REQUEST, ErrorClass.RATE_LIMITED, ErrorClass.AUTH, ErrorClass.OUT_OF_CREDITS,
    ErrorClass.NOT_INSTALLED, ErrorClass.NO_VRAM, ErrorClass.BUDGET, ErrorClass.LOCAL_ONLY, ErrorClass.PAUSED,
    ErrorClass.NO_WORKER,
})  # fmt: skip
"""What is only ever told before a token is written. Any other may end an answer midway, which is paid for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a call used, as far as the provider said. `input_tokens` contain those read from and written to its cache.

    `error` is what came of it, None an answer. `sent` False: the request never reached the provider (connection
    refused); None: the class of the error is all that is known.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    error: ErrorClass | None = None
    sent: bool | None = None


def read_usage(outcome: Outcome, error: ErrorClass | None = None) -> Usage:
    """The usage that an outcome tells of. `error`: what an answer was refused for after all (`invalid_output`)."""
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
    """US dollars for one call; None: nobody knows.

    1. Local and flat-rate calls cost nothing more.
    2. A metered call with known tokens costs what they cost, whether it failed or not: what was read from the cache,
       written to it, and the rest of the input each at its own price (the cache's default is the input's).
    3. One that was refused before a token was written costs nothing.
    4. Of any other nobody knows. A price is needed only for tokens that there are.
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
        dollars += tokens * (price or 0.0) / PER
    return dollars
