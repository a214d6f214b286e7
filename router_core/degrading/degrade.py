"""What follows a fall: a default fallback, a reply, a hold, or the end. docs/decisions.md has the rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_index import model_index
from openfall.router_core.catalog.open_fall_policy import KEPT_REPLY, KEPT_TO_DEADLINE_REPLY, LAST_REPLY
from openfall.router_core.deciding.candidates import ChainState
from openfall.router_core.deciding.job_role import get_role
from openfall.router_core.deciding.remedies import allowed_remedies
from openfall.router_core.degrading.hold import Hold, hold
from openfall.router_core.degrading.judged_fall import FallContext, JudgedFall, judge_by_own_chain
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.jobs.synthetic_reply import synthetic_reply
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.routing.requirements import incompatibility, requirements_for
from openfall.router_core.vocabulary import ErrorClass, HoldReason, Remedy, Urgency

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


@dataclass(frozen=True, slots=True)
class DefaultFallback:
    """Hand the job, marked degraded, to the queue of a default fallback. `reason`: why its chain cannot answer."""

    model: str
    at_front: bool
    why: str
    reason: HoldReason = HoldReason.OUTAGE


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
    judged = judge_by_own_chain(job, catalog, fall, fleet, now)
    reason, detail = judged.fall.reason, judged.fall.detail
    remedies = allowed_remedies(job, catalog)
    for number, remedy in enumerate(remedies):
        if remedy is Remedy.DEFAULT_FALLBACK and reason in _WHY and judged.has_time_for_fallback:
            if (model := next(default_fallbacks(judged.chain, reason, judged.called_fallbacks, now), None)) is not None:
                why = f"{_WHY[reason]}; its default fallback is {model}"
                return DefaultFallback(model, job.urgency is Urgency.INTERACTIVE, why, reason)
        elif remedy is Remedy.FAIL:
            return Degraded(remedy, _failure(judged), detail, reason)
        elif (text := _reply(judged, remedy, held := Remedy.HOLD in remedies[number:])) is not None:
            if held:
                return replace(hold(judged), by=remedy, reply=text)
            return Degraded(remedy, text, detail, reason)
    return hold(judged)


def _reply(judged: JudgedFall, remedy: Remedy, held: bool) -> Completion | None:
    """The caller's reply by a remedy, for a job that is then `held` or ends; None: no reply."""
    job, catalog = judged.chain.job, judged.chain.catalog
    if remedy is Remedy.LAST_ANSWER:
        return judged.fall.remembered
    if remedy is not Remedy.CANNED_REPLY:
        return None
    role = get_role(job, catalog)
    own = role.canned_reply if role is not None else None
    kept = KEPT_TO_DEADLINE_REPLY if judged.fall.has_deadline else KEPT_REPLY
    return synthetic_reply(job, own or catalog.open_fall.canned_reply or (kept if held else LAST_REPLY), judged.now)


def _failure(judged: JudgedFall) -> Failure:
    """The failure of a job that fell: the error class of its kind of fall, else of its last failed call, else of the
    first block."""
    chain, fall = judged.chain, judged.fall
    errors = (attempt.error for attempt in reversed(chain.attempts) if attempt.error is not None)
    blocks = (chain.blocked(alias, judged.now) for alias in chain.job.chain)
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
        if incompatibility(spec, needs) is None and not (free and catalog.is_metered(spec.backends[0])):
            yield alias


def _by_quality(catalog: Catalog, task: str | None) -> list[str]:
    """Every model, the best for a task first, by the order of the catalog among equals."""
    members = model_index(catalog)
    return sorted(members, key=lambda alias: -members[alias].quality_for(task))
