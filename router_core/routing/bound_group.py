"""Bound groups: the models that the jobs of a group may use, whatever their callers name.

The rule belongs to the group of a job: `route` applies it to the choice of a caller, `decide` to every further call.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_index import MAX_CATALOGS, ByIdentity
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.routing.chain_selection import ChainSelection


def bound_models(catalog: Catalog, group: str | None) -> frozenset[str] | None:
    """The models that jobs of a group may use; None: any."""
    return None if group is None else _build_bounds(ByIdentity(catalog)).get(group)


@lru_cache(maxsize=MAX_CATALOGS)
def _build_bounds(key: ByIdentity[Catalog]) -> Mapping[str, frozenset[str]]:
    """The models of each bound group: those of its chain, and the judge of its role or task."""
    catalog = key.value
    bounds = {}
    for group in catalog.groups:
        role = catalog.roles.get(group.role or "") or catalog.tasks.get(group.task or "")
        if group.bound:
            bounds[group.name] = frozenset(models_of(role) if role is not None else group.chain or ())
    return bounds


def models_of(role: Role) -> tuple[str, ...]:
    """The models that a role calls: its chain and its judge."""
    judge = role.ensemble.judge if role.ensemble is not None else None
    return role.chain if judge is None else (*role.chain, judge)


def explain_outside(catalog: Catalog, choice: ChainSelection, group: Group | None) -> str:
    """Why the choice of a caller leaves the models of its bound group. Empty: it does not."""
    bounds = bound_models(catalog, group.name) if group else None
    if bounds is None or group is None:
        return ""
    role = catalog.roles.get(choice.role or "") or catalog.tasks.get(choice.task or "")
    used = models_of(role) if role is not None and role.chain == choice.chain else choice.chain
    outside = [alias for alias in used if alias not in bounds]
    if not outside:
        return ""
    own = ", ".join(alias for alias in catalog.models if alias in bounds)
    return (
        f"group {group.name} is bound to its models ({own}), and {choice.place or 'the caller'} names "
        f"{', '.join(outside)}. Name one of its models, or none: then the group chooses."
    )
