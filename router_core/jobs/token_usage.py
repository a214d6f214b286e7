"""What a provider counted for one call. It decides the cost, whether the call was answered or not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The usage of a call, as its provider reported it. None: not reported.

    `input_tokens` are all tokens of the prompt. Those that a cache read or stored are a part of them, and those that
    are stored for an hour are a part of `cache_write_tokens`. `reasoning_tokens` are a part of `output_tokens`.
    `service_tier` is the tier that the response names: `default`, `flex`, `priority` ...
    `cost_nusd`: what the provider itself charges, in nanodollars.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    web_searches: int | None = None
    service_tier: str = ""
    cost_nusd: int | None = None


NO_USAGE = Usage()
"""The provider reported nothing."""
