"""The chain for a job: which models it may use, in which order, and why."""

from __future__ import annotations

from dataclasses import dataclass

from router_core.catalog import Catalog, UnknownName
from router_core.job import Urgency


@dataclass(frozen=True, slots=True)
class Route:
    """`chain` are model aliases in order; `queue` is where the job waits first; `reason` is a sentence for people."""

    chain: tuple[str, ...]
    queue: str
    urgency: Urgency
    role: str | None
    reason: str


def route(catalog: Catalog, target: str, urgency: Urgency | None = None) -> Route:
    """The route to `target`, which names a role or a model; `UnknownName` when it names neither.

    An urgency the caller gives wins over the role's own; without either it is background.
    """
    if target in catalog.roles:
        role = catalog.roles[target]
        chosen = urgency or role.urgency or Urgency.BACKGROUND
        first = role.chain[0]
        reason = f"first of {len(role.chain)} in the chain of role {target}"
        return Route(role.chain, catalog.queue(first, chosen), chosen, target, reason)
    if target in catalog.models:
        chosen = urgency or Urgency.BACKGROUND
        return Route((target,), catalog.queue(target, chosen), chosen, None, "the caller asked for this model")
    raise UnknownName("role or model", target, {*catalog.roles, *catalog.models})
