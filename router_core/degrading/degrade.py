"""What becomes of a job that fell: asked of a model outside its chain, answered as well as can be, held, or ended."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from openfall.router_core.catalog.entries import Billing, Catalog
from openfall.router_core.catalog.index import model_index
from openfall.router_core.catalog.open_fall_policy import (
    KEPT_REPLY,
    LAST_REPLY,
)
from openfall.router_core.deciding.answer_checks import get_role
from openfall.router_core.deciding.candidates import ChainState
from openfall.router_core.deciding.decide import Conditions, explain_fall, get_chain
from openfall.router_core.jobs.job import (
    CompletionJob,
)
from openfall.router_core.jobs.outcome import (
    Attempt,
    Completion,
    Failure,
)
from openfall.router_core.jobs.synthetic_reply import synthetic_reply
from openfall.router_core.routing.fleet_state import (
    BLOCK_ERRORS,
    FleetState,
)
from openfall.router_core.routing.requirements import incompatibility, requirements_for
from openfall.router_core.vocabulary import (
    RELEASED_BY_ITSELF,
    ErrorClass,
    HoldReason,
    Remedy,
    Urgency,
)

STRIKES = 3
"""So often a job may fall, after it was released, while a model of its chain could be asked."""

LEAST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
"""Seconds before a job is released that fell while a model of its chain could be asked; twice as long each strike."""

DAY = 86400.0
"""Seconds. Budgets begin anew at midnight UTC."""

_WHY: Mapping[HoldReason, str] = {
    HoldReason.OUTAGE: "every model of its chain is away",
    HoldReason.LOCAL_ONLY: "rules on staying local keep its models from being asked",
    HoldReason.PAUSED: "the queues of its chain are paused",
    HoldReason.BUDGET: "what may be spent on it is spent",
    HoldReason.OWN_FAULT: "no model of its chain gives an answer that passes",
}
_CAUSES: Mapping[HoldReason, ErrorClass] = {
    HoldReason.LOCAL_ONLY: ErrorClass.LOCAL_ONLY,
    HoldReason.PAUSED: ErrorClass.PAUSED,
    HoldReason.BUDGET: ErrorClass.BUDGET,
    HoldReason.POISONED: ErrorClass.CRASHED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FallContext:
    """How a job fell. `at` in epoch seconds (server clock); `falls` counts this one too.

    `attempts` are those since it was put in, released or replayed; `stand_in` is the model outside its chain that was
    asked for it last, since then. `strikes` are the falls before this one that happened while a model of its chain
    could be asked: its own doing. `remembered` is the last good answer to the same request, if one is kept.
    """

    reason: HoldReason
    detail: str
    at: float
    attempts: tuple[Attempt, ...] = ()
    falls: int = 1
    strikes: int = 0
    stand_in: str | None = None
    remembered: Completion | None = None


@dataclass(frozen=True, slots=True)
class StandIn:
    """Hand the job, marked degraded, to the queue of a model outside its chain. `reason`: why its own cannot answer."""

    model: str
    at_front: bool
    why: str
    reason: HoldReason = HoldReason.OUTAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Park the job, and tell its caller at once. `reply` is what the caller gets meanwhile (None: no text), `by` where
    it comes from. `models` are those whose return releases it, none before `ready_at` (epoch seconds, 0: at once).
    `keep_until`: until then it is kept if its caller has set no deadline (0: until its own in any case).
    """

    reason: HoldReason
    detail: str
    by: Remedy | None = None
    reply: Completion | None = None
    models: tuple[str, ...] = ()
    ready_at: float = 0.0
    strikes: int = 0
    keep_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Degraded:
    """The job ends here: with a reply that is not an answer of its models, or failed (`Remedy.FAIL`).

    `why` tells what is in the way of each of its models, `reason` which kind of fall that is.
    """

    by: Remedy
    outcome: Completion | Failure
    why: str
    reason: HoldReason = HoldReason.OUTAGE


DegradeAction = StandIn | Hold | Degraded


def degrade(job: CompletionJob, catalog: Catalog, fallen: FallContext, fleet: FleetState, now: float) -> DegradeAction:
    """What becomes of a job that fell: the first remedy that can be had, of the list of its role (or of its task, if it
    has no role), else of its urgency.

    `default_fallback`: the first of `default_fallbacks`, to the front of its queue for an interactive job; never for a
    job that kills whoever carries it out. `last_answer`: when one is remembered. `canned_reply`, `hold`, `fail`:
    always. A reply with `hold` behind it is what the caller gets meanwhile; any other ends the job.

    What ends by itself (`RELEASED_BY_ITSELF`) is released by the models that the job may ever be asked of; the fleet's
    local-only switch excludes none, for it ends. It is ready at once while all of them are away, else after a pause
    that doubles with each strike; when its budget is spent, at midnight UTC. A strike is a fall after the first, for an
    outage, while one of them could be asked; the third makes it the job's own fault.

    A job that its stand-in did not answer is judged by its own chain again.
    """
    course = _course(job, catalog, fallen, fleet, now)
    reason, detail = course.fallen.reason, course.fallen.detail
    remedies = allowed_remedies(job, catalog)
    for number, remedy in enumerate(remedies):
        if remedy is Remedy.DEFAULT_FALLBACK and reason in _WHY:
            if (model := next(default_fallbacks(course.chain, reason, course.stood_in, now), None)) is not None:
                why = f"{_WHY[reason]}; {model} stands in"
                return StandIn(model, job.urgency is Urgency.INTERACTIVE, why, reason)
        elif remedy is Remedy.FAIL:
            return Degraded(remedy, _failure(course), detail, reason)
        elif (text := _reply(course, remedy, held := Remedy.HOLD in remedies[number:])) is not None:
            if held:
                return replace(_hold(course), by=remedy, reply=text)
            return Degraded(remedy, text, detail, reason)
    return _hold(course)


@dataclass(frozen=True, slots=True)
class _Course:
    """How far a job has come: its own chain at this moment, and its fall, for the reason that is true of that chain."""

    chain: ChainState
    fallen: FallContext
    now: float

    @property
    def stood_in(self) -> set[str]:
        """The models outside its chain that were asked for it since it was put in."""
        asked = {attempt.model for attempt in self.fallen.attempts} | {self.fallen.stand_in}
        return {alias for alias in asked if alias is not None and alias not in self.chain.job.chain}

    def away(self, alias: str) -> bool:
        """Whether nobody could ask a model for this job now."""
        return self.chain.forbidden(alias) is not None or self.chain.blocked(alias, self.now) is not None


def _course(job: CompletionJob, catalog: Catalog, fallen: FallContext, fleet: FleetState, now: float) -> _Course:
    own = [attempt for attempt in fallen.attempts if attempt.model in job.chain]
    chain = get_chain(job, catalog, own, Conditions(job.chain[0], fleet=fleet))
    if fallen.stand_in is not None and fallen.reason is not HoldReason.POISONED:
        fall = explain_fall(chain, now)
        fallen = replace(fallen, reason=fall.reason, detail=f"{fall.detail}; {fallen.detail}")
    return _Course(chain, fallen, now)


def allowed_remedies(job: CompletionJob, catalog: Catalog) -> tuple[Remedy, ...]:
    """What may be done for a job that fell, in order: as its role says, or its task, else its urgency."""
    role = get_role(job, catalog)
    own = role.open_fall if role is not None else None
    return own if own is not None else catalog.open_fall.remedies[job.urgency]


def _reply(course: _Course, remedy: Remedy, held: bool) -> Completion | None:
    """What the caller gets to read by a remedy, of a job that is then `held` or ended; None: nothing."""
    job, catalog = course.chain.job, course.chain.catalog
    if remedy is Remedy.LAST_ANSWER:
        return course.fallen.remembered
    if remedy is not Remedy.CANNED_REPLY:
        return None
    role = get_role(job, catalog)
    own = role.canned_reply if role is not None else None
    return synthetic_reply(
        job, own or catalog.open_fall.canned_reply or (KEPT_REPLY if held else LAST_REPLY), course.now
    )


def _hold(course: _Course) -> Hold:
    fallen, now = course.fallen, course.now
    keep_until = now + course.chain.catalog.open_fall.hold_for
    reason, detail, strikes = fallen.reason, fallen.detail, fallen.strikes
    models = tuple(_own(course.chain)) if reason in RELEASED_BY_ITSELF else ()
    there = [alias for alias in models if not course.away(alias)]
    if reason is HoldReason.OUTAGE and there and fallen.falls - len(course.stood_in) > 1:
        strikes += 1
        if strikes >= STRIKES:
            told = f"fell {strikes} times while {there[0]} could be asked; last: {detail}"
            return Hold(reason=HoldReason.OWN_FAULT, detail=told, strikes=strikes, keep_until=keep_until)
    ready_at = now + min(LONGEST_PAUSE, LEAST_PAUSE * 2**strikes) if there else 0.0
    if reason is HoldReason.BUDGET:
        ready_at = (now // DAY + 1) * DAY
    return Hold(reason=reason, detail=detail, models=models, ready_at=ready_at, strikes=strikes, keep_until=keep_until)


def _own(chain: ChainState) -> Iterator[str]:
    """The models of a chain that its job may ever be asked of."""
    ever = replace(chain, fleet=replace(chain.fleet, local_only=False))
    return (alias for alias in chain.job.chain if ever.forbidden(alias) is None)


def _failure(course: _Course) -> Failure:
    """The end of a job that fell: as its kind of fall is called, else as its last call failed, else as the first
    obstacle in its way is."""
    chain, fallen = course.chain, course.fallen
    errors = (attempt.error for attempt in reversed(chain.attempts) if attempt.error is not None)
    blocks = (chain.blocked(alias, course.now) for alias in chain.job.chain)
    causes = (BLOCK_ERRORS[block.reason] for block in blocks if block is not None)
    found = _CAUSES.get(fallen.reason) or next(errors, None) or next(causes, ErrorClass.OTHER)
    return Failure(error_class=found, detail=fallen.detail)


def default_fallbacks(chain: ChainState, reason: HoldReason, passed: Collection[str], now: float) -> Iterator[str]:
    """The models that may stand in for a chain now, the first choice first; none of `passed`, which did so before.

    Those of the policy, in its order; without any, each whose calls cost nothing, by its quality for the job's task. It
    must be outside the chain, allowed, able to serve what the prompt needs, and take calls. For a job whose budget is
    spent its calls cost nothing in any case.
    """
    job, catalog = chain.job, chain.catalog
    needs, named = requirements_for(job.body, job.dialect), catalog.open_fall.default_fallbacks
    free = not named or reason is HoldReason.BUDGET
    for alias in named or _by_quality(catalog, job.task or ""):
        if alias in job.chain or alias in passed or chain.forbidden(alias) or chain.blocked(alias, now):
            continue
        spec = catalog.models[alias]
        if incompatibility(spec, needs) is None and not (free and catalog.billing(spec.backends[0]) is Billing.METERED):
            yield alias


def _by_quality(catalog: Catalog, task: str) -> list[str]:
    """Every model, the best for a task first, by the order of the catalog among equals."""
    members = model_index(catalog)
    return sorted(members, key=lambda alias: -members[alias].spec.quality.get(task, members[alias].quality))
