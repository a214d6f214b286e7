"""When a model is left alone, for how long, and how it comes back. The transitions are a script in `state`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class BreakerState(StrEnum):
    """`closed`: calls go through. `open`: none does. `half_open`: only a probe does, one in the whole fleet."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerPolicy(BaseModel):
    """The rule of every breaker.

    closed: opens after `consecutive_failures` failures in a row, or when of at least `minimum_calls` in the last
    `window` seconds the share of failed ones reaches `failure_rate` or that of slow ones `slow_call_rate`.
    open: for `open_for` seconds, doubled each further time up to `open_for_max`, longer or shorter by up to `jitter`;
    how often it opened is forgotten after `reset_after` seconds closed.
    half-open: `probe_successes` answered health prompts in a row close it; a probe's lease is its timeout and 5 s.
    After closing, slots come back evenly over `slow_start` seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    consecutive_failures: Annotated[int, Field(ge=1)] = 5
    failure_rate: Share = 0.5
    slow_call_rate: Share = 0.8
    minimum_calls: Annotated[int, Field(ge=1)] = 10
    window: Seconds = 300.0
    open_for: Seconds = 30.0
    open_for_max: Seconds = 600.0
    jitter: Annotated[float, Field(ge=0, le=0.5)] = 0.2
    reset_after: Seconds = 300.0
    probe_successes: Annotated[int, Field(ge=1, le=10)] = 2
    probe_timeout: Seconds = 30.0
    slow_start: Annotated[float, Field(ge=0)] = 10.0


def breaker_target(backend: str, model: str) -> str:
    """The name of the breaker of a model at a backend."""
    return f"{backend}/{model}"


def credential_target(credential: str) -> str:
    """The name of the breaker of a key: it opens for whatever is called with that key."""
    return f"key:{credential}"
