"""What follows a fall: a default fallback, a reply, a hold, or the end. docs/decisions.md has the rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from openfall.router_core.catalog.budget_scope import is_counted
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_index import model_index
from openfall.router_core.catalog.open_fall_policy import KEPT_REPLY, KEPT_TO_DEADLINE_REPLY, LAST_REPLY
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.deciding.answer_checks import get_role
from openfall.router_core.deciding.candidates import ChainState
from openfall.router_core.deciding.decide import explain_fall, get_chain
from openfall.router_core.deciding.remedies import allowed_remedies
from openfall.router_core.deciding.reply_deadline import reply_is_due
from openfall.router_core.deciding.steps import Conditions
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt, Completion, Failure
from openfall.router_core.jobs.over_budget import OverBudget
from openfall.router_core.jobs.synthetic_reply import synthetic_reply
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.routing.requirements import incompatibility, requirements_for
from openfall.router_core.vocabulary import RELEASED_BY_ITSELF, ErrorClass, HoldReason, Remedy, Urgency

MAX_STRIKES = 3
"""A released job that falls this often while a model of its chain takes calls is held for its own fault."""

MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 5.0, 600.0
"""The wait before the release of a job that fell while a model of its chain took calls. It doubles with each strike."""

_WHY: Mapping[HoldReason, str] = {
    HoldReason.OUTAGE: "every model of its chain is away",
    HoldReason.LOCAL_ONLY: "local-only rules keep its models from being called",
    HoldReason.PAUSED: "the queues of its chain are paused",
    HoldReason.BUDGET: "its budget is spent",
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
    """How a job fell. `at` in epoch seconds (server clock); `falls` counts this fall too.

    `attempts` are the attempts since it was accepted, released or replayed. `default_fallback` is the last default
    fallback that was called for it since then. `strikes` counts its earlier falls while a model of its chain took
    calls. `remembered` is the last good answer to the same request, if there is one. `has_deadline`: its caller set
    one. `replied`: its caller has had a reply of Open Fall before. `over`: the budget that its call did not fit into.
    """

    reason: HoldReason
    detail: str
    at: float
    attempts: tuple[Attempt, ...] = ()
    falls: int = 1
    strikes: int = 0
    default_fallback: str | None = None
    remembered: Completion | None = None
    has_deadline: bool = False
    replied: bool = False
    over: OverBudget | None = None


@dataclass(frozen=True, slots=True)
class DefaultFallback:
    """Hand the job, marked degraded, to the queue of a default fallback. `reason`: why its chain cannot answer."""

    model: str
    at_front: bool
    why: str
    reason: HoldReason = HoldReason.OUTAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Park the job, and notify its caller at once. `reply` is the interim reply (None: no text), `by` its source.
    `models` can release it, none before `ready_at` (epoch seconds, 0: at once). `keep_until` is its deadline from
    now on (0: its own, because its caller set it).
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
    """The job ends: with a reply that is no answer of its models, or failed (`Remedy.FAIL`).

    `why` names what blocks each of its models, `reason` the kind of fall.
    """

    by: Remedy
    outcome: Completion | Failure
    why: str
    reason: HoldReason = HoldReason.OUTAGE


DegradeAction = DefaultFallback | Hold | Degraded


def degrade(job: CompletionJob, catalog: Catalog, fall: FallContext, fleet: FleetState, now: float) -> DegradeAction:
    """The first available remedy, from the list of its role (of its task, if it has no role), else of its urgency.

    A job that its default fallback did not answer is judged by its own chain again.
    """
    context = _judge_by_own_chain(job, catalog, fall, fleet, now)
    reason, detail = context.fall.reason, context.fall.detail
    remedies = allowed_remedies(job, catalog)
    for number, remedy in enumerate(remedies):
        if remedy is Remedy.DEFAULT_FALLBACK and reason in _WHY and context.has_time_for_fallback:
            if (
                model := next(default_fallbacks(context.chain, reason, context.called_fallbacks, now), None)
            ) is not None:
                why = f"{_WHY[reason]}; its default fallback is {model}"
                return DefaultFallback(model, job.urgency is Urgency.INTERACTIVE, why, reason)
        elif remedy is Remedy.FAIL:
            return Degraded(remedy, _failure(context), detail, reason)
        elif (text := _reply(context, remedy, held := Remedy.HOLD in remedies[number:])) is not None:
            if held:
                return replace(_hold(context), by=remedy, reply=text)
            return Degraded(remedy, text, detail, reason)
    return _hold(context)


@dataclass(frozen=True, slots=True)
class _Context:
    """A job's own chain at this moment, and its fall, with the reason that holds for that chain."""

    chain: ChainState
    fall: FallContext
    now: float

    @property
    def called_fallbacks(self) -> set[str]:
        """The default fallbacks that were called for it since it was accepted."""
        models = {attempt.model for attempt in self.fall.attempts} | {self.fall.default_fallback}
        return {alias for alias in models if alias is not None and alias not in self.chain.job.chain}

    @property
    def answers_failed_checks(self) -> bool:
        """Whether a model of its chain gave an answer that failed a check."""
        return any(attempt.error is ErrorClass.INVALID_OUTPUT for attempt in self.chain.attempts)

    @property
    def has_time_for_fallback(self) -> bool:
        """Whether a default fallback could answer before the caller needs a reply."""
        return not reply_is_due(replace(self.chain, default_fallback=True), self.now)

    def is_away(self, alias: str) -> bool:
        """Whether this job cannot call a model now."""
        return self.chain.forbidden(alias) is not None or self.chain.blocked(alias, self.now) is not None


def _judge_by_own_chain(
    job: CompletionJob, catalog: Catalog, fall: FallContext, fleet: FleetState, now: float
) -> _Context:
    own = [attempt for attempt in fall.attempts if attempt.model in job.chain]
    chain = get_chain(job, catalog, own, Conditions(job.chain[0], fleet=fleet, replied=fall.replied, over=fall.over))
    if fall.default_fallback is not None and fall.reason is not HoldReason.POISONED:
        own_fall = explain_fall(chain, now)
        fall = replace(fall, reason=own_fall.reason, detail=f"{own_fall.detail}; {fall.detail}")
    return _Context(chain, fall, now)


def _reply(context: _Context, remedy: Remedy, held: bool) -> Completion | None:
    """The caller's reply by a remedy, for a job that is then `held` or ends; None: no reply."""
    job, catalog = context.chain.job, context.chain.catalog
    if remedy is Remedy.LAST_ANSWER:
        return context.fall.remembered
    if remedy is not Remedy.CANNED_REPLY:
        return None
    role = get_role(job, catalog)
    own = role.canned_reply if role is not None else None
    kept = KEPT_TO_DEADLINE_REPLY if context.fall.has_deadline else KEPT_REPLY
    return synthetic_reply(job, own or catalog.open_fall.canned_reply or (kept if held else LAST_REPLY), context.now)


def _hold(context: _Context) -> Hold:
    fall, now = context.fall, context.now
    hold_for = context.chain.catalog.open_fall.hold_for
    keep_until = 0.0 if fall.has_deadline else max(context.chain.job.deadline, now + hold_for)
    reason, detail, strikes = fall.reason, fall.detail, fall.strikes
    models = tuple(_releasing_models(context.chain)) if reason in RELEASED_BY_ITSELF else ()
    available = [alias for alias in models if not context.is_away(alias)]
    fell_before = fall.falls - len(context.called_fallbacks) > 1
    if reason is HoldReason.OUTAGE and fell_before and context.answers_failed_checks:
        detail = f"its answers failed their checks again; last: {detail}"
        return Hold(reason=HoldReason.OWN_FAULT, detail=detail, strikes=strikes, keep_until=keep_until)
    if reason is HoldReason.OUTAGE and fell_before and available:
        strikes += 1
        if strikes >= MAX_STRIKES:
            detail = f"fell {strikes} times while {available[0]} took calls; last: {detail}"
            return Hold(reason=HoldReason.OWN_FAULT, detail=detail, strikes=strikes, keep_until=keep_until)
    ready_at = now + min(MAX_PAUSE_SECONDS, MIN_PAUSE_SECONDS * 2**strikes) if available else 0.0
    if fall.over is not None:  # a model that the budget does not count releases the job as soon as it takes calls
        free = tuple(alias for alias in models if not is_counted(context.chain.catalog, fall.over.name, alias))
        if reason is HoldReason.BUDGET:
            ready_at = fall.over.until
        else:
            models = free or models
    return Hold(reason=reason, detail=detail, models=models, ready_at=ready_at, strikes=strikes, keep_until=keep_until)


def _releasing_models(chain: ChainState) -> Iterator[str]:
    """The models of a chain that its job may ever call, and that have not refused it. The local-only switch excludes
    none, for it ends."""
    ever = replace(chain, fleet=replace(chain.fleet, local_only=False))
    return (alias for alias in chain.job.chain if ever.forbidden(alias) is None and not ever.refused(alias))


def _failure(context: _Context) -> Failure:
    """The failure of a job that fell: the error class of its kind of fall, else of its last failed call, else of the
    first block."""
    chain, fall = context.chain, context.fall
    errors = (attempt.error for attempt in reversed(chain.attempts) if attempt.error is not None)
    blocks = (chain.blocked(alias, context.now) for alias in chain.job.chain)
    causes = (block.error_class for block in blocks if block is not None)
    error_class = _CAUSES.get(fall.reason) or next(errors, None) or next(causes, ErrorClass.OTHER)
    return Failure(error_class=error_class, detail=fall.detail)


def default_fallbacks(chain: ChainState, reason: HoldReason, passed: Collection[str], now: float) -> Iterator[str]:
    """The default fallbacks that may answer now, the first choice first; none of `passed`, which were called before.

    The models of the policy, in its order; without any, every model whose calls cost nothing, by its quality for the
    job's task. Each must be outside the chain, allowed, able to serve the prompt, and take calls. For a job without
    budget its calls must cost nothing in any case.
    """
    job, catalog = chain.job, chain.catalog
    needs, named = requirements_for(job.body, job.dialect), catalog.open_fall.default_fallbacks
    free = not named or reason is HoldReason.BUDGET
    for alias in named or _by_quality(catalog, job.task):
        if alias in job.chain or alias in passed or chain.forbidden(alias) or chain.blocked(alias, now):
            continue
        spec = catalog.models[alias]
        if incompatibility(spec, needs) is None and not (free and catalog.billing(spec.backends[0]) is Billing.METERED):
            yield alias


def _by_quality(catalog: Catalog, task: str | None) -> list[str]:
    """Every model, the best for a task first, by the order of the catalog among equals."""
    members = model_index(catalog)
    return sorted(members, key=lambda alias: -members[alias].quality_for(task))
