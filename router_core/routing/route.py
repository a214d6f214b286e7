"""The chain for a job: which models it may use, in which order, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from openfall.router_core.catalog.entries import Catalog, Group, Order
from openfall.router_core.catalog.index import model_index
from openfall.router_core.catalog.policies import Cloud
from openfall.router_core.jobs.job import (
    ConsideredModel,
)
from openfall.router_core.routing.chain_selection import (
    ChainSelection,
    RouteRequest,
    get_group,
    select_chain,
)
from openfall.router_core.routing.fleet_state import (
    FleetState,
)
from openfall.router_core.routing.rank import (
    Entry,
    RankContext,
    RankedModel,
    candidate,
    facts,
    rank,
)
from openfall.router_core.routing.requirements import Requirements, incompatibility
from openfall.router_core.vocabulary import (
    Urgency,
)

_HASTE = {urgency: place for place, urgency in enumerate(Urgency)}
_OFFERED = 3
"""Other models that are named to somebody whose job no model of the chain can take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`chain` are model aliases in order; `queue` is where the job waits first; `group` is the catalog's name of the
    group that applies; `reason` is a sentence for people; `considered` are all models looked at, those left out last.
    """

    chain: tuple[str, ...]
    queue: str
    urgency: Urgency
    role: str | None = None
    task: str | None = None
    group: str | None = None
    local_only: bool = False
    reason: str
    considered: tuple[ConsideredModel, ...]


class NothingFits(Exception):
    """No model can or may take the job. The message tells why of each of `considered`, and what would help."""

    def __init__(self, message: str, considered: tuple[ConsideredModel, ...] = ()) -> None:
        self.considered = considered
        super().__init__(message)


FleetOf = Callable[[Urgency], FleetState]
"""The fleet as a job of an urgency finds it: a queue is paused for one urgency at a time."""


def route(catalog: Catalog, fleet_of: FleetOf, asked: RouteRequest, now: float = 0.0) -> Route:
    """The route of a job at a moment (epoch seconds, server clock), with the fleet as a job of its urgency finds it.

    Raises `UnknownName` for a role, task or model that is not in the catalog, `NothingFits` when none is left of the
    chain after those that cannot or may not take the job.
    """
    group = get_group(catalog, asked.group)
    choice = select_chain(catalog, asked, group)
    if choice is None:
        raise NothingFits("the configuration has no roles, no tasks and no models: there is nothing to ask")
    urgency, note = _urgency(catalog, asked, choice, group)
    fleet = fleet_of(urgency)
    fence = next(_fences(catalog, fleet, asked, choice, group), "")
    closed = fence or _stays(catalog, urgency)
    fitting, left_out = _sifted(catalog, choice.chain, asked.needs, closed)
    if not fitting:
        raise _nothing(catalog, asked.needs, closed, left_out)
    occasion = _occasion(catalog, choice, urgency, asked.needs, now)
    ranked = rank(fitting, fleet, occasion)
    considered = (*[candidate(one, occasion) for one in ranked], *left_out)
    return Route(
        chain=tuple([one.alias for one in ranked]),
        queue=catalog.queue(ranked[0].alias, urgency),
        urgency=urgency,
        role=choice.role,
        task=choice.task,
        group=group.name if group else None,
        local_only=bool(fence),
        reason=_sentence(choice, ranked, occasion) + _passed_over(choice, ranked, considered) + note,
        considered=considered,
    )


def _occasion(
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


def _urgency(catalog: Catalog, asked: RouteRequest, choice: ChainSelection, group: Group | None) -> tuple[Urgency, str]:
    """How urgent the job may be; and a note for people when that is less than it was asked to be."""
    role = catalog.roles[choice.role].urgency if choice.role else None
    task = catalog.tasks[choice.task].urgency if choice.task else None
    urgency = asked.urgency or role or task or Urgency.BACKGROUND
    if group and group.urgency and _HASTE[urgency] < _HASTE[group.urgency]:
        return group.urgency, f"; group {group.name} is {group.urgency} at most"
    return urgency, ""


def _stays(catalog: Catalog, urgency: Urgency) -> str:
    """Why jobs of an urgency may not leave the local pools now; empty: they may."""
    return f"{urgency} jobs stay in the local pools" if catalog.urgency[urgency].allow_cloud is Cloud.NO else ""


def _fences(
    catalog: Catalog, fleet: FleetState, asked: RouteRequest, choice: ChainSelection, group: Group | None
) -> Iterator[str]:
    """Everything that keeps the job in local pools."""
    if asked.local_only:
        yield "the job is local-only"
    if group and group.local_only:
        yield f"group {group.name} is local-only"
    if choice.role and catalog.roles[choice.role].local_only:
        yield f"role {choice.role} is local-only"
    if choice.task and catalog.tasks[choice.task].local_only:
        yield f"task {choice.task} is local-only"
    if catalog.local_only:
        yield "the configuration is local-only"
    if fleet.local_only:
        yield "the fleet is switched to local-only"


def _sifted(
    catalog: Catalog, chain: tuple[str, ...], needs: Requirements, closed: str
) -> tuple[list[Entry], list[ConsideredModel]]:
    """The models that can and may take the job; and those left out."""
    members = model_index(catalog)
    fitting: list[Entry] = []
    left_out: list[ConsideredModel] = []
    for number, alias in enumerate(chain, 1):
        member = members[alias]
        why = closed if closed and not member.local else incompatibility(member.spec, needs)
        if why:
            left_out.append(ConsideredModel(model=alias, reason=f"left out: {why}", chosen=False))
        else:
            fitting.append((number, alias, member))
    return fitting, left_out


def _nothing(catalog: Catalog, needs: Requirements, closed: str, left_out: list[ConsideredModel]) -> NothingFits:
    """Each model with what is against it, and the remedy: another model that could, if there is one."""
    against = "; ".join(f"{one.model}: {one.reason.removeprefix('left out: ')}" for one in left_out)
    others = [entry[1] for entry in _sifted(catalog, tuple(catalog.models), needs, closed)[0]]
    if others:
        remedy = f"Of the others {', '.join(others[:_OFFERED])} could: name it as the model, or add it to the chain."
    elif closed:
        remedy = "Add a model of a local pool that can, or let such jobs leave the local pools."
    else:
        remedy = "Ask for less, or add a model that can to the configuration."
    return NothingFits(f"no model can take this job ({against}). {remedy}", tuple(left_out))


def _sentence(choice: ChainSelection, ranked: list[RankedModel], occasion: RankContext) -> str:
    """Whose word it was, and why the first model is the first."""
    first = ranked[0]
    told = facts(first, occasion)
    if choice.place:
        told = [first.alias if len(ranked) == 1 else f"{first.alias} first of {len(ranked)}", *told]
    sentence = f"{choice.why}: {', '.join(told)}" if told else choice.why
    return f"{sentence}; {first.trouble}" if first.trouble else sentence


def _passed_over(choice: ChainSelection, ranked: list[RankedModel], considered: tuple[ConsideredModel, ...]) -> str:
    """Why the first model of the chain as it is written was left out or moved back; empty when it was not.

    That a model of a ranked chain stands behind the local ones needs no excuse: it had no claim to be the first.
    """
    primary = choice.chain[0]
    if ranked[0].alias == primary:
        return ""
    one = next((one for one in ranked if one.alias == primary), None)
    if one and (not one.set_back or (one.away and choice.order is Order.BY_URGENCY)):
        return ""
    return next(f"; {primary} {told.reason}" for told in considered if told.model == primary)
