"""What holds for every job of an urgency: target times, time limits, how many may wait, where they may go."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field

from openfall.router_core.catalog.field_types import CatalogEntry, Count, Seconds, Share
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
