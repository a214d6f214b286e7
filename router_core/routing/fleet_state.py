"""What is so at one moment: of each model whether it may be called, how busy, loaded and quick it is. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from openfall.router_core.vocabulary import (
    BlockReason,
    ErrorClass,
)

FOREVER = float("inf")


OBSTACLE_ERRORS: Mapping[BlockReason, ErrorClass] = {
    BlockReason.BREAKER: ErrorClass.CONNECTION,
    BlockReason.COOLDOWN: ErrorClass.RATE_LIMITED,
    BlockReason.CREDENTIAL: ErrorClass.AUTH,
    BlockReason.PAUSED: ErrorClass.PAUSED,
    BlockReason.NO_WORKER: ErrorClass.NO_WORKER,
    BlockReason.LOCAL_ONLY: ErrorClass.LOCAL_ONLY,
    BlockReason.UNHEALTHY: ErrorClass.CONNECTION,
}
"""The cause that an obstacle is told as."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """A model that may not be called now. `until` is a moment (epoch seconds, server clock), or `FOREVER`: nobody
    knows. `detail` is for people: "its breaker is open (5 failures in a row) for 24 s more"."""

    obstacle: BlockReason
    until: float
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """One model, over all its backends.

    `blocked` None: at least one backend takes calls. `free` are its slots that nobody uses; `waiting` the jobs that go
    before one of the urgency in question; `oldest` how long the first of them has waited, in seconds. `loaded` None:
    not known, or it need not be loaded. `latency` is the mean time of its calls of late, in seconds; None: there were
    none.
    `may_retry` False: its pool has used up its budget of repeated calls.
    """

    blocked: Blocked | None = None
    free: int = 1
    waiting: int = 0
    oldest: float = 0.0
    loaded: bool | None = None
    latency: float | None = None
    may_retry: bool = True


UNKNOWN = ModelState()
"""What is assumed of a model of which nothing was heard: that it works."""


@dataclass(frozen=True, slots=True)
class FleetState:
    """Everything at one moment. `local_only`: the switch that keeps every job in local pools is on."""

    models: Mapping[str, ModelState] = field(default_factory=dict)
    local_only: bool = False

    def model(self, alias: str) -> ModelState:
        return self.models.get(alias, UNKNOWN)

    def taking(self, alias: str) -> FleetState:
        """The same fleet, but that model takes calls: a claim has just allowed one, and knows better than a survey."""
        if self.model(alias).blocked is None:
            return self
        return FleetState({**self.models, alias: replace(self.model(alias), blocked=None)}, self.local_only)

    def with_one_more(self, alias: str) -> FleetState:
        """The same fleet after one more job was sent to wait for that model."""
        state = self.model(alias)
        return FleetState({**self.models, alias: replace(state, waiting=state.waiting + 1)}, self.local_only)
