"""Whose word decides the chain of a job: the caller's, its group's, the prompt's own, or nobody's."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from openfall.router_core.catalog.entries import Catalog, Group, Order
from openfall.router_core.catalog.errors import UnknownName
from openfall.router_core.routing.classify import classify
from openfall.router_core.routing.requirements import NOTHING, Requirements
from openfall.router_core.vocabulary import (
    Urgency,
)

DEFAULT_ROLE = "chat"
AUTO = "auto"
"""What a caller writes for a model who leaves the choice to us. A role, task or model of that name comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRequest:
    """What a caller says of a job. `target` is the one word of a client that knows no more: a role, task, model or
    `auto`; it counts when neither role, task nor model is named. `group` is the caller's own name for whose job it is.
    `text` is what the prompt is about, for its classification."""

    target: str | None = None
    role: str | None = None
    task: str | None = None
    model: str | None = None
    group: str | None = None
    urgency: Urgency | None = None
    local_only: bool = False
    needs: Requirements = NOTHING
    text: str = ""


@dataclass(slots=True, kw_only=True)  # made for every job: not frozen, which would cost as much as all of choosing
class ChainSelection:
    """A chain, and the role and task whose defaults and limits apply. `why` says whose word it was, `place` where the
    chain stands (`role ace`; empty for a model by itself): both for people."""

    chain: tuple[str, ...]
    why: str
    place: str = ""
    order: Order = Order.AS_WRITTEN
    role: str | None = None
    task: str | None = None


def get_group(catalog: Catalog, named: str | None) -> Group | None:
    """The first group with a pattern that fits the caller's name for it; None when there is none."""
    if named is None:
        return None
    return next((one for one in catalog.groups if any(fnmatchcase(named, pattern) for pattern in one.match)), None)


def select_chain(catalog: Catalog, asked: RouteRequest, group: Group | None) -> ChainSelection | None:
    """The caller's model, else role, else task, else target; else the group's role, task or chain; else the task type
    by the words of the prompt; else role `chat`, else the first role, task or model. None: there is none of them.

    A role beside a model, or a task beside a role, still gives its defaults and limits, and the scores by which models
    are ranked. `UnknownName` for what is not in the catalog.
    """
    if (asked.model, asked.role, asked.task) != (None, None, None):
        return _told(catalog, asked)
    if asked.target and (found := _target(catalog, asked.target)):
        return found
    return (group and _of_group(catalog, group)) or _classified(catalog, asked.text) or _default(catalog)


def _told(catalog: Catalog, asked: RouteRequest) -> ChainSelection:
    if asked.role is not None and asked.role not in catalog.roles:
        raise UnknownName("role", asked.role, catalog.roles)
    if asked.task is not None and asked.task not in catalog.tasks:
        raise UnknownName("task", asked.task, catalog.tasks)
    if asked.model is not None:
        catalog.model(asked.model)
        why = "the caller asked for this model"
        return ChainSelection(chain=(asked.model,), why=why, role=asked.role, task=asked.task)
    if asked.role is not None:
        return _of_role(catalog, asked.role, task=asked.task)
    return _of_task(catalog, str(asked.task))


def _target(catalog: Catalog, target: str) -> ChainSelection | None:
    if target in catalog.roles:
        return _of_role(catalog, target)
    if target in catalog.tasks:
        return _of_task(catalog, target)
    if target in catalog.models:
        return ChainSelection(chain=(target,), why="the caller asked for this model")
    if target == AUTO:
        return None
    raise UnknownName("role, task or model", target, {*catalog.roles, *catalog.tasks, *catalog.models})


def _of_group(catalog: Catalog, group: Group) -> ChainSelection | None:
    """What a group says; None when it only limits."""
    if group.role:
        return _of_role(catalog, group.role, why=f"group {group.name}, role {group.role}", task=group.task)
    if group.task:
        return _of_task(catalog, group.task, why=f"group {group.name}, task {group.task}")
    place = f"group {group.name}"
    return ChainSelection(chain=group.chain, why=place, place=place) if group.chain else None


def _classified(catalog: Catalog, text: str) -> ChainSelection | None:
    found = classify(text, catalog.tasks)
    if found is None:
        return None
    words = ", ".join(map(repr, found.words))
    return _of_task(catalog, found.task, why=f"{found.task} (classified: {words}; {found.confidence:.1f})")


def _default(catalog: Catalog) -> ChainSelection | None:
    for name in (DEFAULT_ROLE,) if DEFAULT_ROLE in catalog.roles else catalog.roles:
        return _of_role(catalog, name, why=f"role {name} (the default)")
    for name in catalog.tasks:
        return _of_task(catalog, name, why=f"task {name} (the default)")
    for name in catalog.models:
        return ChainSelection(chain=(name,), why=f"model {name} (the default)")
    return None


def _of_role(catalog: Catalog, name: str, *, why: str = "", task: str | None = None) -> ChainSelection:
    role, place = catalog.roles[name], f"role {name}"
    return ChainSelection(chain=role.chain, why=why or place, place=place, order=role.order, role=name, task=task)


def _of_task(catalog: Catalog, name: str, *, why: str = "") -> ChainSelection:
    task, place = catalog.tasks[name], f"task {name}"
    return ChainSelection(chain=task.chain, why=why or place, place=place, order=task.order, task=name)
