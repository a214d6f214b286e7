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
    IF_LATE = "if_late"  # once the job is past its `start_within`; at once when no model of its chain is local


class UrgencyPolicy(_Policy):
    """`start_within` is the target for an answer to start, `give_up` the time after which nobody wants it. Seconds.

    `share` is the part of a pool's claims that jobs of this urgency get at least while more urgent ones wait, too.
    `depth` is how many jobs may wait in one queue of this urgency; more are refused.
    """

    start_within: Seconds
    give_up: Seconds
    cloud: Cloud = Cloud.YES
    share: Share = 0.0
    depth: Annotated[int, Field(ge=1)] = 100_000


class RetryPolicy(_Policy):
    """How the same model is asked again: `times` at most, after `base`, `base` x 2, x 4 ... seconds up to `most`.

    `budget` is the share of a pool's calls of the last minutes that may be such repetitions.
    """

    times: Annotated[int, Field(ge=0, le=10)] = 3
    base: Seconds = 1.0
    most: Seconds = 60.0
    budget: Share = 0.2


URGENCY_DEFAULTS: Mapping[Urgency, UrgencyPolicy] = {
    Urgency.INTERACTIVE: UrgencyPolicy(start_within=5, give_up=120, depth=10_000),
    Urgency.BACKGROUND: UrgencyPolicy(start_within=30, give_up=3600, share=0.1),
    Urgency.BATCH: UrgencyPolicy(start_within=3600, give_up=86400, cloud=Cloud.IF_LATE, share=0.05, depth=2_000_000),
}
