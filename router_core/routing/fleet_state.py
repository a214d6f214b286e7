"""The fleet at one moment: for each model whether it takes calls, its load, its latency. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from openfall.router_core.vocabulary import BlockReason, ErrorClass

FOREVER = float("inf")


BLOCK_ERRORS: Mapping[BlockReason, ErrorClass] = {
    BlockReason.BREAKER: ErrorClass.OTHER,
    BlockReason.COOLDOWN: ErrorClass.RATE_LIMITED,
    BlockReason.LIMIT: ErrorClass.RATE_LIMITED,
    BlockReason.CREDENTIAL: ErrorClass.AUTH,
    BlockReason.PAUSED: ErrorClass.PAUSED,
    BlockReason.NO_WORKER: ErrorClass.NO_WORKER,
    BlockReason.LOCAL_ONLY: ErrorClass.LOCAL_ONLY,
    BlockReason.UNHEALTHY: ErrorClass.OTHER,
    BlockReason.BUDGET: ErrorClass.BUDGET,
}
"""The error class that stands for each reason, if the failure behind the block is not known."""


OUTAGE_BLOCKS = frozenset({BlockReason.BREAKER, BlockReason.CREDENTIAL, BlockReason.UNHEALTHY})
"""Blocks of a model that is away: it does not work, or refuses its key."""
_OUTAGES = OUTAGE_BLOCKS | {BlockReason.NO_WORKER}


@dataclass(frozen=True, slots=True)
class Blocked:
    """A block on all calls to a model. `until` is a moment (epoch seconds, server clock), or `FOREVER`: unknown.
    `detail` is for people: "its breaker is open after 5 failures in a row (timeout)".

    `failure` is the class of the failure that led to the block. `cause` names it as `describe_cause` does, or another
    cause in a few words (`slow`, `forced open`). Without them the reason alone is known."""

    reason: BlockReason
    until: float
    detail: str
    failure: ErrorClass | None = None
    cause: str = ""

    @property
    def error_class(self) -> ErrorClass:
        return self.failure or BLOCK_ERRORS[self.reason]

    @property
    def cause_text(self) -> str:
        """The cause in a few words."""
        return self.cause or str(self.error_class)

    @property
    def is_outage(self) -> bool:
        """The model fails or cannot be reached. A cooldown after a 429, a pause and a switch are none."""
        return self.reason in _OUTAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """One model, over all its backends.

    `blocked` None: at least one backend takes calls. `limited`: each backend that takes calls is at a limit of its
    provider until then, and has no free slot. `seconds_per_call`: a limit lets a call start that often; 0: there is no
    limit. `free` counts its free slots. `waiting` counts the jobs that go before a job of the urgency in question.
    `oldest` is the wait of the first of them, in seconds. `loaded` None: unknown, or it need not be loaded. `latency`
    is the mean time of its recent calls, in seconds; None: there were none. `starts_in`: seconds until its card has it
    in memory and takes such calls (`FOREVER`: never, with these cards); None: no card is managed for it."""

    blocked: Blocked | None = None
    limited: Blocked | None = None
    seconds_per_call: float = 0.0
    free: int = 1
    waiting: int = 0
    oldest: float = 0.0
    loaded: bool | None = None
    latency: float | None = None
    starts_in: float | None = None

    @property
    def must_be_loaded(self) -> bool:
        """Whether a call would first have to wait until the model is in memory."""
        return self.loaded is False or bool(self.starts_in)

    @property
    def can_take_more(self) -> bool:
        """Whether it has a free slot that no waiting job is about to take, or its card would load it for a job."""
        return self.blocked is None and (self.free > self.waiting or self.would_be_loaded)

    @property
    def would_be_loaded(self) -> bool:
        """Whether its card would load it, or take such calls again, for a job: none waits for that yet."""
        return self.waiting == 0 and self.starts_in is not None and 0 < self.starts_in < FOREVER


UNKNOWN = ModelState()
"""The state of a model without data: openfall assumes that it works."""


@dataclass(frozen=True, slots=True)
class SpentBudget:
    """A budget that allows no further call before a moment (epoch seconds; `FOREVER`: its window never ends)."""

    until: float
    detail: str


@dataclass(frozen=True, slots=True)
class FleetState:
    """All models at one moment. `local_only`: the switch that keeps every job in local pools is on. `spent`: the
    budgets without anything left, for routes (see `block_spent`); the claim asks each budget itself.
    `scarce`: the models whose subscription is nearly used up."""

    models: Mapping[str, ModelState] = field(default_factory=dict)
    local_only: bool = False
    spent: Mapping[str, SpentBudget] = field(default_factory=dict)
    scarce: frozenset[str] = frozenset()

    def model(self, alias: str) -> ModelState:
        return self.models.get(alias, UNKNOWN)

    def unblocked(self, alias: str) -> FleetState:
        """The same fleet, but this model takes calls: a claim has just allowed one, and is newer than the snapshot."""
        if self.model(alias).blocked is None:
            return self
        return replace(self, models={**self.models, alias: replace(self.model(alias), blocked=None)})

    def with_one_more_waiting(self, alias: str) -> FleetState:
        """The same fleet after one more job was queued for this model."""
        state = self.model(alias)
        return replace(self, models={**self.models, alias: replace(state, waiting=state.waiting + 1)})
