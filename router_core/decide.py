"""What to do next with a job, given what has been tried. Pure: time and chance are arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from router_core.ensemble import Answer
from router_core.fleet import Fleet
from router_core.outcome import ErrorClass, Fallback, Outcome

OWN_FAULTS = frozenset({ErrorClass.BAD_REQUEST, ErrorClass.CONTEXT_OVERFLOW, ErrorClass.CONTENT_FILTER})
"""What no outage causes and no waiting cures: a job that met nothing else fails, it does not fall."""


class HoldReason(StrEnum):
    """Why a job is parked in `degrade`."""

    OUTAGE = "outage"
    LOCAL_ONLY = "local_only"  # nothing but a rule on staying local keeps it from being answered
    BUDGET = "budget"  # what may be spent on it is spent
    POISONED = "poisoned"
    UNREADABLE = "unreadable"  # written by a newer openfall than the worker's


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is so at the moment of deciding.

    `here` is the model whose queue delivered the job or in whose queue it waits; `jitter` is in [0, 1]; `answers` are
    those that an ensemble has so far, kept with the job.
    """

    here: str
    jitter: float = 0.5
    fleet: Fleet = field(default_factory=Fleet)
    answers: Sequence[Answer] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """Ask this model now, for at most `timeout` seconds. `why`, a few words, goes into the attempt's record.

    `judging`: it is asked for a verdict on the answers (`ensemble.judge_body`), not for the job's own body.
    """

    model: str
    timeout: float
    why: str = ""
    judging: bool = False


@dataclass(frozen=True, slots=True)
class Handoff:
    """Put the job into the queue of the next model. `kind` is what made it a fallback; None: it is none."""

    model: str
    at_front: bool
    why: str = ""
    kind: Fallback | None = None


@dataclass(frozen=True, slots=True)
class Later:
    """Put the job back for this model, to be delivered after `delay` seconds."""

    model: str
    delay: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Fall:
    """Nothing can serve the job now: hold it for this reason. `detail` names what stands in the way of each model."""

    reason: HoldReason
    detail: str


@dataclass(frozen=True, slots=True)
class Done:
    """The job has its one terminal result. `expired` when the deadline ended it rather than an outcome of its own.

    `answer` and `why` tell whose answer it is and why it was picked, when an ensemble was asked.
    """

    outcome: Outcome
    expired: bool = False
    answer: Answer | None = None
    why: str = ""


Step = Call | Handoff | Later | Fall | Done
