"""Policies that hold for all jobs of an urgency, and for all calls: times, limits, where a job may go, retries."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from openfall.router_core.catalog.field_types import (
    CatalogEntry,
    Count,
    Format,
    PositiveShare,
    Seconds,
    SecondsOrZero,
    Share,
)
from openfall.router_core.vocabulary import Urgency


class Order(StrEnum):
    """Whether a chain is tried as it is written, or ranked for each job by its urgency."""

    AS_WRITTEN = "as_written"
    BY_URGENCY = "by_urgency"


class Cloud(StrEnum):
    """Whether jobs of an urgency may leave the local pools."""

    YES = "yes"
    NO = "no"
    WHEN_LATE = "when_late"  # once the job is past its `start_within`; at once when no model of its chain is local


class UrgencyPolicy(CatalogEntry):
    """What holds for every job of an urgency. Times are in seconds."""

    start_within: Seconds = Field(description="Target time until the answer starts.")
    expires_after: Seconds = Field(description="After this time the answer is no longer wanted.")
    reply_within: Seconds | None = Field(
        None,
        description="The longest silence for a caller who waits: by then an answer has begun, or Open Fall replies. "
        "It starts again while an answer is being written or a model is being loaded. Without it: no limit.",
    )
    timeout: Seconds | None = Field(
        None, description="Maximum time of one call, for models without their own. Without it: until the job expires."
    )
    first_token_timeout: Seconds | None = Field(
        None,
        description="Maximum time of one call until the first token. The `load_time` of a model that must be loaded is "
        "added. Without it: no limit.",
    )
    stall_timeout: Seconds | None = Field(
        None,
        description="Maximum time without progress once an answer has begun. Progress is 10 characters. "
        "Without it: no limit.",
    )
    min_share: Share = Field(0.0, description="Minimum share of a pool's claims while more urgent jobs wait as well.")
    max_queued: Count = Field(
        100_000, description="Maximum jobs before a job in the queue of a model. A job with more before it is refused."
    )
    allow_cloud: Cloud = Field(
        Cloud.YES,
        description="Whether its jobs may leave the local pools. `when_late`: once they are past `start_within`.",
    )


class RetryPolicy(CatalogEntry):
    """How the same model is called again after a transient failure."""

    max_retries: Annotated[int, Field(ge=0, le=10)] = Field(
        3, description="Maximum retries at the same model after a transient failure."
    )
    initial_backoff: Seconds = Field(1.0, description="Wait before the first retry. It doubles each time ...")
    max_backoff: Seconds = Field(60.0, description="... up to this.")
    retry_budget: Share = Field(
        0.2,
        description="Maximum retries of a worker, as a share of its calls of the last minute. "
        "30 retries in a minute are always allowed.",
    )


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


URGENCY_DEFAULTS: Mapping[Urgency, UrgencyPolicy] = {
    Urgency.INTERACTIVE: UrgencyPolicy(
        start_within=5, expires_after=120, reply_within=14, timeout=90, first_token_timeout=5, stall_timeout=5,
        max_queued=10_000,
    ),
    Urgency.BACKGROUND: UrgencyPolicy(start_within=30, expires_after=3600, timeout=300, min_share=0.1),
    Urgency.BATCH: UrgencyPolicy(
        start_within=3600, expires_after=86400, timeout=900, allow_cloud=Cloud.WHEN_LATE, min_share=0.05,
        max_queued=2_000_000,
    ),
}  # fmt: skip
