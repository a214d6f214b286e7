"""What becomes of a job that fell: asked of a model outside its chain, answered as well as can be, held, or ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from router_core.catalog import Catalog
from router_core.fleet import Fleet
from router_core.job import CompletionJob
from router_core.open_fall import HoldReason, Remedy
from router_core.outcome import Attempt, Completion, Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallen:
    """How a job fell. `at` in epoch seconds (server clock); `falls` counts this one too.

    `attempts` are those since it was put in or replayed. `strikes` are the falls before this one that happened while a
    model of its chain could be asked: its own doing. `stand_in` is the model outside its chain that was asked for it
    last. `remembered` is the last good answer to the same request, if one is kept.
    """

    reason: HoldReason
    detail: str
    at: float
    attempts: Sequence[Attempt] = ()
    falls: int = 1
    strikes: int = 0
    stand_in: str | None = None
    remembered: Completion | None = None


@dataclass(frozen=True, slots=True)
class StandIn:
    """Hand the job, marked degraded, to the queue of a model outside its chain."""

    model: str
    at_front: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Park the job, and tell its caller at once. `reply` is what the caller gets meanwhile (None: no text), `by` where
    it comes from. `models` are those whose return releases it, none before `ready_at` (epoch seconds, 0: at once).
    """

    reason: HoldReason
    detail: str
    by: Remedy | None = None
    reply: Completion | None = None
    models: tuple[str, ...] = ()
    ready_at: float = 0.0
    strikes: int = 0


@dataclass(frozen=True, slots=True)
class Degraded:
    """The job ends here: with a reply that is not an answer of its models, or failed (`Remedy.FAIL`)."""

    by: Remedy
    outcome: Completion | Failure
    why: str


Landing = StandIn | Hold | Degraded


def degrade(job: CompletionJob, catalog: Catalog, fallen: Fallen, fleet: Fleet, now: float) -> Landing:
    """What becomes of a job that fell."""
    raise NotImplementedError
