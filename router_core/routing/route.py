"""The chain for a job: which models it may use, in which order, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from openfall.router_core.catalog.budget_scope import CallOwner
from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_index import model_index
from openfall.router_core.catalog.urgency_policy import Order
from openfall.router_core.jobs.job import ConsideredModel
from openfall.router_core.routing.bound_group import explain_outside
from openfall.router_core.routing.chain_selection import ChainSelection, RouteRequest, get_group, select_chain
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.routing.local_only import local_only_rules, stays_local
from openfall.router_core.routing.rank import Entry, RankContext, RankedModel, considered_model, facts, rank
from openfall.router_core.routing.requirements import Requirements, incompatibility
from openfall.router_core.routing.spent_budgets import block_spent
from openfall.router_core.vocabulary import JobKind, Urgency

_URGENCY_ORDER = {urgency: place for place, urgency in enumerate(Urgency)}
_MAX_ALTERNATIVES = 3
"""How many other models the error names, if no model of the chain can take the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`chain` are model aliases in order, `configured_chain` are those that the configuration has, in its order;
    `queue` is the first queue of the job; `group` is the catalog's name of the group that applies; `reason` is a
    sentence for people; `considered` are all models, the excluded ones last.
    """

    chain: tuple[str, ...]
    configured_chain: tuple[str, ...]
    queue: str
    urgency: Urgency
    role: str | None = None
    task: str | None = None
    group: str | None = None
    local_only: bool = False
    reason: str
    considered: tuple[ConsideredModel, ...]
    unmet: tuple[str, ...] = ()
    """Models on cards that would come first if they were in memory."""


class NothingFits(Exception):
    """No model can or may take the job. The message gives the reason for each of `considered`, and a remedy.
    `is_local_only`: a model of the chain could, if the job might leave the local pools."""

    def __init__(
        self, message: str, considered: tuple[ConsideredModel, ...] = (), *, is_local_only: bool = False
    ) -> None:
        self.considered, self.is_local_only = considered, is_local_only
        super().__init__(message)


FleetOf = Callable[[Urgency], FleetState]
"""The state of the fleet for a job of an urgency: a queue is paused for one urgency at a time."""


def route(catalog: Catalog, fleet_of: FleetOf, request: RouteRequest, now: float = 0.0) -> Route:
    """The route of a job at a moment (epoch seconds, server clock), for the state of the fleet at its urgency.

    Raises `UnknownName` for a role, task or model that is not in the catalog, `NothingFits` if no model of the chain
    can and may take the job.
    """
    group = get_group(catalog, request.group)
    choice = select_chain(catalog, request, group)
    if choice is None:
        raise NothingFits(_no_choice(catalog, request.needs.kind))
    if outside := explain_outside(catalog, choice, group):
        raise NothingFits(outside)
    urgency, note = _urgency(catalog, request, choice, group)
    name = group.name if group else None
    owner = CallOwner(group=name, role=choice.role, task=choice.task, producer=request.producer)
    fleet = block_spent(catalog, fleet_of(urgency), choice.chain, owner)
    local_rule = next(local_only_rules(catalog, fleet, request, choice, group), "")
    local_reason = local_rule or stays_local(catalog, urgency)
    fitting, excluded = _split_by_fit(catalog, choice.chain, request.needs, local_reason)
    if not fitting:
        could_elsewhere = bool(local_reason) and bool(_split_by_fit(catalog, choice.chain, request.needs, "")[0])
        raise _nothing_fits(catalog, request.needs, local_reason, excluded, is_local_only=could_elsewhere)
    context = _rank_context(catalog, choice, urgency, request.needs, now)
    ranked = rank(fitting, fleet, context)
    considered = (*[considered_model(model, context) for model in ranked], *excluded)
    return Route(
        chain=tuple(model.alias for model in ranked),
        configured_chain=choice.chain,
        queue=catalog.queue(ranked[0].alias, urgency),
        urgency=urgency,
        role=choice.role,
        task=choice.task,
        group=name,
        local_only=bool(local_rule),
        reason=_sentence(choice, ranked, context) + _passed_over(choice, ranked, considered) + note,
        considered=considered,
        unmet=_unmet(catalog, ranked, fitting, fleet, context),
    )


def _unmet(
    catalog: Catalog, ranked: list[RankedModel], fitting: list[Entry], fleet: FleetState, context: RankContext
) -> tuple[str, ...]:
    """The models that the job passes over only because their card does not hold them. A card loads what is wanted, and
    a job that goes elsewhere would not be noticed."""
    unmet = []
    for model in ranked[1:]:
        on_card = any(catalog.card_of(name) for name in catalog.models[model.alias].backends)
        if on_card and model.state.loaded is False and model.state.blocked is None:
            in_memory = replace(model.state, loaded=True, starts_in=None)
            loaded = replace(fleet, models={**fleet.models, model.alias: in_memory})
            if rank(fitting, loaded, context)[0].alias == model.alias:
                unmet.append(model.alias)
    return tuple(unmet)


def _rank_context(
    catalog: Catalog, choice: ChainSelection, urgency: Urgency, needs: Requirements, now: float
) -> RankContext:
    return RankContext(
        urgency=urgency,
        policy=catalog.urgency[urgency],
        order=choice.order,
        task=choice.task,
        place=choice.place,
        needs=needs,
        now=now,
    )


def _urgency(
    catalog: Catalog, request: RouteRequest, choice: ChainSelection, group: Group | None
) -> tuple[Urgency, str]:
    """The urgency of the job; and a note for people if a group lowers it."""
    role = catalog.roles[choice.role].urgency if choice.role else None
    task = catalog.tasks[choice.task].urgency if choice.task else None
    urgency = request.urgency or role or task or request.default_urgency
    if group and group.urgency and _URGENCY_ORDER[urgency] < _URGENCY_ORDER[group.urgency]:
        return group.urgency, f"; group {group.name} is {group.urgency} at most"
    return urgency, ""


def _split_by_fit(
    catalog: Catalog, chain: tuple[str, ...], needs: Requirements, local_reason: str
) -> tuple[list[Entry], list[ConsideredModel]]:
    """The models that can and may take the job; and the excluded ones."""
    members = model_index(catalog)
    fitting: list[Entry] = []
    excluded: list[ConsideredModel] = []
    only = _only_model(catalog, chain, needs)
    for number, alias in enumerate(chain, 1):
        member = members[alias]
        why = local_reason if local_reason and not member.local else incompatibility(member.spec, needs)
        if not why and only not in (None, alias):
            why = f"the vectors of {only} and of another model do not mix"
        if why:
            excluded.append(ConsideredModel(model=alias, reason=f"left out: {why}", chosen=False))
        else:
            fitting.append((number, alias, member))
    return fitting, excluded


def _only_model(catalog: Catalog, chain: tuple[str, ...], needs: Requirements) -> str | None:
    """The one model that may serve a job for embeddings, whatever the state of the fleet; None: it may be any."""
    if needs.kind is JobKind.COMPLETION:
        return None
    return next((alias for alias in chain if catalog.models[alias].kind is needs.kind), None)


def _no_choice(catalog: Catalog, kind: JobKind) -> str:
    """Why a request that names no model has none."""
    if kind is JobKind.EMBEDDING and catalog.models:
        return "no model of the configuration embeds texts: add one (with `embeds: yes`, if its name is not known)"
    return "the configuration has no roles, no tasks and no models: there is no model to call"


def _nothing_fits(
    catalog: Catalog, needs: Requirements, local_reason: str, excluded: list[ConsideredModel], *, is_local_only: bool
) -> NothingFits:
    """The error: each model with its reason, and a remedy: another model that could, if the catalog has one."""
    against = "; ".join(f"{model.model}: {model.reason.removeprefix('left out: ')}" for model in excluded)
    others = [entry[1] for entry in _split_by_fit(catalog, tuple(catalog.models), needs, local_reason)[0]]
    if others:
        names = ", ".join(others[:_MAX_ALTERNATIVES])
        remedy = f"Of the other models {names} could: name it as the model, or add it to the chain."
    elif local_reason:
        remedy = "Add a model of a local pool that can, or allow such jobs to leave the local pools."
    else:
        remedy = "Reduce the request, or add a model that can take it to the configuration."
    message = f"no model can take this job ({against}). {remedy}"
    return NothingFits(message, tuple(excluded), is_local_only=is_local_only)


def _sentence(choice: ChainSelection, ranked: list[RankedModel], context: RankContext) -> str:
    """Who chose the chain, and why the first model is the first."""
    first = ranked[0]
    words = facts(first, context)
    if choice.place:
        words = [first.alias if len(ranked) == 1 else f"{first.alias} first of {len(ranked)}", *words]
    sentence = f"{choice.why}: {', '.join(words)}" if words else choice.why
    return f"{sentence}; {first.trouble}" if first.trouble else sentence


def _passed_over(choice: ChainSelection, ranked: list[RankedModel], considered: tuple[ConsideredModel, ...]) -> str:
    """Why the first model of the configured chain was excluded or moved back; empty if it was not.

    A model of a ranked chain behind the local models is expected, so it is not explained.
    """
    primary = choice.chain[0]
    if ranked[0].alias == primary:
        return ""
    model = next((model for model in ranked if model.alias == primary), None)
    if model and (not model.demoted or (model.after_local and choice.order is Order.BY_URGENCY)):
        return ""
    return next(f"; {primary} {model.reason}" for model in considered if model.model == primary)
