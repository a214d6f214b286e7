"""The prices of a model, as people write them and as integers for the exact sums of the ledger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from openfall.router_core.catalog.field_types import CatalogEntry, Tokens

Usd = Annotated[float, Field(ge=0)]

NANODOLLARS = 1_000_000_000
"""Nanodollars in a US dollar. A dollar for a million tokens is a million picodollars a token."""
_PICODOLLARS_A_TOKEN = 1_000_000


class TokenPrices(CatalogEntry):
    """US dollars for a million tokens. None is an unknown price, never 0."""

    input: Usd | None = Field(None, serialization_alias="in", description="Input tokens.")
    output: Usd | None = Field(None, serialization_alias="out", description="Output tokens.")
    cache_read: Usd | None = Field(None, description="Input tokens found in the provider's cache. Without it: as `in`.")
    cache_write: Usd | None = Field(
        None, description="Input tokens written to the provider's cache. Without it: as `in`."
    )
    cache_write_1h: Usd | None = Field(
        None, description="Input tokens written to the provider's cache for an hour. Without it: as `cache_write`."
    )


class LongPromptPrices(TokenPrices):
    """The prices of a request whose input is longer than `tokens`, for all of its tokens."""

    tokens: Tokens = Field(description="A longer input, that of the cache included, has these prices.")


class Prices(TokenPrices):
    """US dollars for a million tokens, and for what is paid by the call. None is an unknown price, never 0."""

    request: Usd = Field(0.0, description="US dollars for each call, beside its tokens.")
    web_search: Usd = Field(0.0, description="US dollars for each web search that the provider makes within a call.")
    above: LongPromptPrices | None = Field(None, description="The prices of a request with a longer input.")
    flex: TokenPrices | None = Field(None, description="The prices of the service tier `flex`.")
    batch: TokenPrices | None = Field(None, description="The prices of the provider's batches.")
    priority: TokenPrices | None = Field(None, description="The prices of the service tier `priority`.")


@dataclass(frozen=True, slots=True)
class ExactPrices:
    """Prices as integers: picodollars a token, nanodollars a request and a web search. None: unknown."""

    input: int | None
    output: int | None
    cache_read: int | None
    cache_write: int | None
    cache_write_1h: int | None
    request: int = 0
    web_search: int = 0


_TIERS = {"flex": "flex", "batch": "batch", "priority": "priority", "fast": "priority"}


def rate_for(prices: Prices, service_tier: str, input_tokens: int) -> ExactPrices | None:
    """The rate of a call of a service tier with so much input. None: this tier has no known price."""
    tier = _TIERS.get(service_tier)
    own: TokenPrices | None = getattr(prices, tier) if tier else None
    is_long = prices.above is not None and input_tokens > prices.above.tokens
    if tier == "priority" and (own is None or is_long):
        return None
    live = prices.above if is_long and prices.above is not None else prices
    return replace(
        _rate(live if own is None or is_long else own),
        request=nanodollars(prices.request),
        web_search=nanodollars(prices.web_search),
    )


def nanodollars(usd: float) -> int:
    return round(usd * NANODOLLARS)


def _rate(prices: TokenPrices) -> ExactPrices:
    def first(*values: float | None) -> int | None:
        usd = next((value for value in values if value is not None), None)
        return None if usd is None else round(usd * _PICODOLLARS_A_TOKEN)

    stored = prices.cache_write, prices.input
    return ExactPrices(
        input=first(prices.input),
        output=first(prices.output),
        cache_read=first(prices.cache_read, prices.input),
        cache_write=first(*stored),
        cache_write_1h=first(prices.cache_write_1h, *stored),
    )
