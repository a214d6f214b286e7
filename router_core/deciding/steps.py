"""What `decide` reads and returns: the facts of a moment, and the next step of a job. Plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from openfall.router_core.jobs.outcome import Answer, Outcome
from openfall.router_core.jobs.over_budget import OverBudget
from openfall.router_core.jobs.stream_time_limits import StreamLimits
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.vocabulary import Fallback, HoldReason


@dataclass(frozen=True, slots=True)
class Conditions:
    """The facts at the moment of a decision.

    `current_model` is the model in whose queue the job was claimed or waits. `jitter` is in [0, 1]. `answers` are the
    answers that an ensemble has so far. `default_fallback`: the current model is a default fallback outside the job's
    chain (see `degrade`), and no model of the chain is called now. `may_retry` False: the retry budget is spent (for
    `conclude`: a waiting job was counted when it was decided that it waits). `replied`: Open Fall has replied. `over`:
    the budget that the next call does not fit into; no model that it counts is called. `refusal`: the last one of a
    model; it is the answer of the job if no model gives another. `is_stranded`: the sweep examines the job because no
    worker can claim from its queue, and not because it is late."""

    current_model: str
    jitter: float = 0.5
    fleet: FleetState = field(default_factory=FleetState)
    answers: Sequence[Answer] = ()
    default_fallback: bool = False
    may_retry: bool = True
    replied: bool = False
    over: OverBudget | None = None
    refusal: Answer | None = None
    is_stranded: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """Call this model now, for at most `timeout` seconds. `why`, a few words, goes into the attempt's record.

    `is_judging`: it judges the answers (`ensemble.judge_body`). `stream_limits` None: only the timeout limits the call.
    `service_tier`: the one that the call asks for; empty: the standard one.
    """

    model: str
    timeout: float
    why: str = field(default="", compare=False)
    is_judging: bool = False
    stream_limits: StreamLimits | None = None
    service_tier: str = ""


@dataclass(frozen=True, slots=True)
class Handoff:
    """Put the job into the queue of the next model. `kind` is the kind of fallback; None: it is no fallback."""

    model: str
    at_front: bool
    why: str = field(default="", compare=False)
    kind: Fallback | None = None


@dataclass(frozen=True, slots=True)
class Later:
    """Put the job back for this model, due in `delay` seconds."""

    model: str
    delay: float
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Fall:
    """No model can serve the job now. `detail` names what blocks each model. `over`: the budget that its call does not
    fit into, if that is in the way."""

    reason: HoldReason
    detail: str
    over: OverBudget | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Done:
    """The job has its one terminal result. `expired`: the deadline ended it.

    `answer` and `why` are set for an ensemble, and for the refusal of a model that was not the last one called: the
    picked answer, and the reason.
    """

    outcome: Outcome
    expired: bool = False
    answer: Answer | None = None
    why: str = field(default="", compare=False)


Step = Call | Handoff | Later | Fall | Done
