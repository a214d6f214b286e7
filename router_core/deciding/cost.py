"""The cost of a call. Unknown is None and never 0."""

from __future__ import annotations

from openfall.router_core.catalog.pools import Billing
from openfall.router_core.catalog.prices import Prices, rate_for
from openfall.router_core.jobs.outcome import Failure, Outcome
from openfall.router_core.jobs.token_usage import Usage
from openfall.router_core.vocabulary import ErrorClass

FREE_ERRORS = frozenset({
    ErrorClass.BAD_REQUEST, ErrorClass.UNSUPPORTED, ErrorClass.RATE_LIMITED, ErrorClass.AUTH,
    ErrorClass.OUT_OF_CREDITS, ErrorClass.FORBIDDEN, ErrorClass.NOT_INSTALLED, ErrorClass.NO_VRAM, ErrorClass.BUDGET,
    ErrorClass.LOCAL_ONLY, ErrorClass.PAUSED, ErrorClass.NO_WORKER, ErrorClass.WORKER_LIMIT,
})  # fmt: skip
"""Errors for which a provider charges nothing: they come only before the first token. Any other error may end an answer
midway, which is paid for."""


def call_cost(prices: Prices | None, billing: Billing, outcome: Outcome, error: ErrorClass | None = None) -> int | None:
    """Nanodollars for one call; None: unknown. `error`: why it gave no answer, if it gave none.

    1. Local and flat-rate calls, and calls that were never sent, cost nothing more.
    2. What the provider itself charges is the cost.
    3. A metered call with known tokens costs their price, whether it failed or not: see `usage_cost`.
    4. A call that was refused before the first token costs nothing.
    5. The cost of any other call is unknown.
    """
    usage = outcome.usage
    if billing is not Billing.METERED or (isinstance(outcome, Failure) and outcome.never_sent):
        return 0
    if usage.cost_nusd is not None:
        return usage.cost_nusd
    if usage.input_tokens is None or usage.output_tokens is None:
        is_untouched = usage.input_tokens is None and usage.output_tokens is None
        return 0 if is_untouched and error in FREE_ERRORS else None
    return usage_cost(prices or Prices(), usage)


def usage_cost(prices: Prices, usage: Usage) -> int | None:
    """Nanodollars for what a provider counted, rounded once, half up; None: a price that it needs is unknown.

    Cache reads, cache writes and the rest of the input each have their own price (without one: as input; an hour's
    cache: as the cache). A longer prompt than `above.tokens` has the prices of `above` for all of its tokens, and a
    service tier those of the tier. Without them `priority` is unknown, and any other tier costs as much as the live
    call. Only tokens that were used need a price.
    """
    read, stored = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    stored_1h = min(usage.cache_write_1h_tokens or 0, stored)
    rate = rate_for(prices, usage.service_tier, usage.input_tokens or 0)
    if rate is None:
        return None
    parts = (
        (max(0, (usage.input_tokens or 0) - read - stored), rate.input),
        (read, rate.cache_read),
        (stored - stored_1h, rate.cache_write),
        (stored_1h, rate.cache_write_1h),
        (usage.output_tokens or 0, rate.output),
    )
    picodollars = 0
    for tokens, price in parts:
        if tokens and price is None:
            return None
        picodollars += tokens * (price or 0)
    fees = rate.request + (usage.web_searches or 0) * rate.web_search
    return (picodollars + 500) // 1000 + fees
