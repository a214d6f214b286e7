"""When a breaker opens, for how long, and what closes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from openfall.router_core.catalog.field_types import CatalogEntry, Count, Format, PositiveShare, Seconds, SecondsOrZero


class BreakerPolicy(CatalogEntry):
    """The policy of every breaker.

    closed: it opens after `consecutive_failures`, or when at least `minimum_calls` in the `window` reach `failure_rate`
    or `slow_call_rate`. open: for `open_for`, doubled each time up to `open_for_max`, with `jitter` either way.
    half-open: `probe_successes` in a row close it. The lease of a probe is `probe_timeout` and 5 s.
    """

    consecutive_failures: Count = Field(5, description="Consecutive failures that open a breaker.")
    failure_rate: PositiveShare = Field(0.5, description="Share of failed calls in the `window` that opens a breaker.")
    slow_call_rate: PositiveShare = Field(
        0.8, description="Share of slow calls that opens a breaker (see `slow_after` of a model)."
    )
    minimum_calls: Count = Field(10, description="Minimum calls in the `window` before shares are computed.")
    window: Seconds = Field(300.0, description="Period whose calls are counted.")
    open_for: Seconds = Field(30.0, description="How long a breaker stays open before a health prompt is sent.")
    open_for_max: Seconds = Field(600.0, description="`open_for` doubles each further time, up to this.")
    jitter: Annotated[float, Field(ge=0, le=0.5), Format.SHARE] = Field(
        0.2, description="Random share by which `open_for` is made longer or shorter."
    )
    reset_after: Seconds = Field(300.0, description="Time closed after which `open_for` no longer doubles.")
    probe_successes: Annotated[int, Field(ge=1, le=10)] = Field(
        2, description="Consecutive answered health prompts that close a breaker."
    )
    probe_timeout: Seconds = Field(30.0, description="Maximum time of one health prompt.")
    slow_start: SecondsOrZero = Field(10.0, description="Time after closing over which slots come back evenly.")
