"""Which chain a job gets: by the caller, by its group, by the words of its prompt, or the default."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.catalog.urgency_policy import Order
from openfall.router_core.routing.classify_by_words import classify
from openfall.router_core.routing.default_chain import default_chain, has_kind
from openfall.router_core.routing.requirements import NOTHING, Requirements
from openfall.router_core.vocabulary import JobKind, Urgency

AUTO = "auto"
"""The model name with which a caller leaves the choice to openfall. A role, task or model called `auto` wins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRequest:
    """The caller's part of a route. `target` is the one name of a client that has only a model field: a role, task,
    model or `auto`; it counts without role, task and model. `group` is the caller's name of its tenant. `texts` are
    the messages that are classified: those of the user, the last one first. `default_urgency` holds where the caller,
    the role and the task name none."""

    target: str | None = None
    role: str | None = None
    task: str | None = None
    model: str | None = None
    group: str | None = None
    urgency: Urgency | None = None
    default_urgency: Urgency = Urgency.BACKGROUND
    local_only: bool = False
    needs: Requirements = NOTHING
    texts: tuple[str, ...] = ()
    producer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSelection:
    """A chain, and the role and task whose defaults and limits apply. For people: `why` names who chose it, `place`
    where it stands (`role ace`; empty for a single model)."""

    chain: tuple[str, ...]
    why: str
    place: str = ""
    order: Order = Order.AS_WRITTEN
    role: str | None = None
    task: str | None = None


def get_group(catalog: Catalog, named: str | None) -> Group | None:
    """The first group with a pattern that matches the caller's name; None: no group matches."""
    if named is None:
        return None
    return next(
        (group for group in catalog.groups if any(fnmatchcase(named, pattern) for pattern in group.match)), None
    )


def select_chain(catalog: Catalog, request: RouteRequest, group: Group | None) -> ChainSelection | None:
    """The caller's model, else role, else task, else target; else the group's role, task or chain; else the task type
    by the words of the prompt; else the default. None: the catalog is empty.

    A role beside a model, or a task beside a role, still gives its defaults and limits, and the scores that rank the
    models. Raises `UnknownName` for a name that is not in the catalog.
    """
    if (request.model, request.role, request.task) != (None, None, None):
        return _named_by_caller(catalog, request)
    if request.target and (selection := _target(catalog, request.target)):
        return selection
    own = group and _of_group(catalog, group)
    if own and (request.needs.kind is JobKind.COMPLETION or has_kind(catalog, own.chain, request.needs.kind)):
        return own
    return _classified(catalog, request.texts) or _default(catalog, request.needs.kind)


def _named_by_caller(catalog: Catalog, request: RouteRequest) -> ChainSelection:
    if request.role is not None and request.role not in catalog.roles:
        raise UnknownName("role", request.role, catalog.roles, _other_kind(catalog, request.role))
    task = None if request.task is None else catalog.find_task(request.task)
    if request.task is not None and task is None:
        known = {*catalog.tasks, *(alias for spec in catalog.tasks.values() for alias in spec.aliases)}
        raise UnknownName("task", request.task, known, _other_kind(catalog, request.task))
    if request.model is not None:
        return _of_model(catalog.find_model(request.model), request.model, role=request.role, task=task)
    if request.role is not None:
        return _of_role(catalog, request.role, task=task)
    return _of_task(catalog, str(task))


def _other_kind(catalog: Catalog, name: str) -> str:
    """What a name means that is none of the kind in question, for people; empty: nothing."""
    if name in catalog.roles:
        return f"the role {name!r}"
    if (task := catalog.find_task(name)) is not None:
        return f"the task {task!r}"
    try:
        return f"the model {catalog.find_model(name)!r}"
    except UnknownName:
        return ""


def _of_model(alias: str, named: str, *, role: str | None = None, task: str | None = None) -> ChainSelection:
    why = "the caller named this model" if alias == named else f"the caller named this model as {named}"
    return ChainSelection(chain=(alias,), why=why, role=role, task=task)


def _target(catalog: Catalog, target: str) -> ChainSelection | None:
    if target in catalog.roles:
        return _of_role(catalog, target)
    if (task := catalog.find_task(target)) is not None:
        return _of_task(catalog, task)
    if target == AUTO and AUTO not in catalog.models:
        return None
    alias = catalog.find_model(target, kind="role, task or model", known={*catalog.roles, *catalog.tasks})
    return _of_model(alias, target)


def _of_group(catalog: Catalog, group: Group) -> ChainSelection | None:
    """The chain of a group; None: the group has only limits."""
    if group.role:
        return _of_role(catalog, group.role, why=f"group {group.name}, role {group.role}", task=group.task)
    if group.task:
        return _of_task(catalog, group.task, why=f"group {group.name}, task {group.task}")
    place = f"group {group.name}"
    return ChainSelection(chain=group.chain, why=place, place=place) if group.chain else None


def _classified(catalog: Catalog, texts: tuple[str, ...]) -> ChainSelection | None:
    tasks = {name: task for name, task in catalog.tasks.items() if has_kind(catalog, task.chain, JobKind.COMPLETION)}
    match = classify(texts, tasks) if texts else None
    if match is None:
        return None
    words = ", ".join(map(repr, match.words))
    return _of_task(catalog, match.task, why=f"{match.task} (classified: {words}; {match.confidence:.1f})")


def _default(catalog: Catalog, kind: JobKind) -> ChainSelection | None:
    default = default_chain(catalog, kind)
    if default is None:
        return None
    name, why = default
    if name in catalog.roles:
        return _of_role(catalog, name, why=f"role {name} ({why})")
    if name in catalog.tasks:
        return _of_task(catalog, name, why=f"task {name} ({why})")
    return ChainSelection(chain=(name,), why=f"model {name} ({why})")


def _of_role(catalog: Catalog, name: str, *, why: str = "", task: str | None = None) -> ChainSelection:
    role, place = catalog.roles[name], f"role {name}"
    return ChainSelection(chain=role.chain, why=why or place, place=place, order=role.order, role=name, task=task)


def _of_task(catalog: Catalog, name: str, *, why: str = "") -> ChainSelection:
    task, place = catalog.tasks[name], f"task {name}"
    return ChainSelection(chain=task.chain, why=why or place, place=place, order=task.order, task=name)
