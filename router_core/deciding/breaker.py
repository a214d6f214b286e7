"""When a model is left alone, for how long, and how it comes back. The transitions are a script in `state`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from openfall.router_core.catalog.formats import CatalogEntry, Count, Format, PositiveShare, Seconds, SecondsOrZero


class BreakerState(StrEnum):
    """`closed`: calls go through. `open`: none does. `half_open`: only a probe does, one in the whole fleet."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerPolicy(CatalogEntry):
    """The policy of every breaker.

    closed: it opens after `consecutive_failures`, or when at least `minimum_calls` in the `window` reach `failure_rate`
    or `slow_call_rate`. open: for `open_for`, doubled each time up to `open_for_max`, with `jitter` either way.
    half-open: `probe_successes` in a row close it. The lease of a probe is `probe_timeout` and 5 s.
    """

    consecutive_failures: Count = Field(default=5, description="Consecutive failures that open a breaker.")
    failure_rate: PositiveShare = Field(
        default=0.5, description="Share of failed calls in the `window` that opens a breaker."
    )
    slow_call_rate: PositiveShare = Field(
        default=0.8, description="Share of slow calls that opens a breaker (see `slow_after` of a model)."
    )
    minimum_calls: Count = Field(default=10, description="Minimum calls in the `window` before shares are computed.")
    window: Seconds = Field(default=300.0, description="Period whose calls are counted.")
    open_for: Seconds = Field(default=30.0, description="How long a breaker stays open before a health prompt is sent.")
    open_for_max: Seconds = Field(default=600.0, description="`open_for` doubles each further time, up to this.")
    jitter: Annotated[float, Field(ge=0, le=0.5), Format.SHARE] = Field(
        default=0.2, description="Random share by which `open_for` is made longer or shorter."
    )
    reset_after: Seconds = Field(default=300.0, description="Time closed after which `open_for` no longer doubles.")
    probe_successes: Annotated[int, Field(ge=1, le=10)] = Field(
        default=2, description="Consecutive answered health prompts that close a breaker."
    )
    probe_timeout: Seconds = Field(default=30.0, description="Maximum time of one health prompt.")
    slow_start: SecondsOrZero = Field(default=10.0, description="Time after closing over which slots come back evenly.")


def breaker_target(backend: str, model: str) -> str:
    """The name of the breaker of a model at a backend."""
    return f"{backend}/{model}"


def credential_target(credential: str) -> str:
    """The name of the breaker of a key: it opens for whatever is called with that key."""
    return f"key:{credential}"
