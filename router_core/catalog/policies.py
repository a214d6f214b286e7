"""How long a job may take, whither it may go, and how often a model is asked: what holds for all of them alike."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from openfall.router_core.jobs.job import Urgency

Seconds = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Policy(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cloud(StrEnum):
    """Whether jobs of an urgency may leave the local pools."""

    YES = "yes"
    NO = "no"
    WHEN_LATE = "when_late"  # once the job is past its `start_within`; at once when no model of its chain is local


class UrgencyPolicy(_Policy):
    """`start_within` is the target for an answer to start. After `expires_after` the answer is not wanted. Seconds.

    `min_share` is the part of a pool's claims that jobs of this urgency get at least while more urgent ones wait, too.
    `max_queued` is how many jobs may wait in one queue of this urgency; more are refused.
    """

    start_within: Seconds
    expires_after: Seconds
    allow_cloud: Cloud = Cloud.YES
    min_share: Share = 0.0
    max_queued: Annotated[int, Field(ge=1)] = 100_000


class RetryPolicy(_Policy):
    """How the same model is asked again: at most `max_retries` times.

    The waits are `initial_backoff` x 1, x 2, x 4 ... seconds, up to `max_backoff`.
    `retry_budget` is the share of a pool's calls of the last minutes that may be such repetitions.
    """

    max_retries: Annotated[int, Field(ge=0, le=10)] = 3
    initial_backoff: Seconds = 1.0
    max_backoff: Seconds = 60.0
    retry_budget: Share = 0.2


URGENCY_DEFAULTS: Mapping[Urgency, UrgencyPolicy] = {
    Urgency.INTERACTIVE: UrgencyPolicy(start_within=5, expires_after=120, max_queued=10_000),
    Urgency.BACKGROUND: UrgencyPolicy(start_within=30, expires_after=3600, min_share=0.1),
    Urgency.BATCH: UrgencyPolicy(
        start_within=3600, expires_after=86400, allow_cloud=Cloud.WHEN_LATE, min_share=0.05, max_queued=2_000_000
    ),
}
