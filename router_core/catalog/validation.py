"""Contradictions within a catalog. Each check is a generator; all problems are reported at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from openfall.router_core.catalog.backend_keys import validate_keys
from openfall.router_core.catalog.budget_validation import validate_budgets, validate_flex
from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.card_validation import validate_cards
from openfall.router_core.catalog.catalog_errors import CatalogProblem, UnknownName
from openfall.router_core.catalog.open_fall_policy import validate_remedies
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.catalog.time_limit_validation import validate_time_limits
from openfall.router_core.catalog.unchecked_catalog import UncheckedCatalog
from openfall.router_core.vocabulary import JobKind, Remedy, Urgency

DEFAULT_QUALITY = "default"
"""In a model's `quality`: the key for every task that is not named."""

RESERVED_POOL = "degrade"
"""Its queues would be mistaken for the queue of degraded jobs."""

MAX_SHARED = 0.9
"""Maximum share of a pool's claims for the less urgent jobs. The rest is for interactive jobs."""


def validate_catalog(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    """Every contradiction of a catalog. A path names a group by its name."""
    if RESERVED_POOL in catalog.pools:
        yield CatalogProblem(f"pools.{RESERVED_POOL}", "this name is reserved for the queue of degraded jobs")
    yield from _backends(catalog)
    yield from _models(catalog)
    for section, roles in (("roles", catalog.roles), ("tasks", catalog.tasks)):
        for name, role in roles.items():
            yield from _names(catalog, section, name, role.chain)
            yield from _role(catalog, f"{section}.{name}", role)
    yield from _aliases(catalog)
    if catalog.default is not None and catalog.default not in {*catalog.roles, *catalog.tasks}:
        yield _unknown("default", "role or task", catalog.default, {*catalog.roles, *catalog.tasks})
    yield from _groups(catalog)
    yield from _unreachable(catalog.groups)
    yield from (*validate_budgets(catalog), *validate_flex(catalog))
    yield from (CatalogProblem(f"urgency.{word}", "missing") for word in Urgency if word not in catalog.urgency)
    yield from _shares(catalog)
    yield from _open_fall(catalog)
    yield from _times(catalog)
    yield from validate_time_limits(catalog)
    yield from validate_cards(catalog)


def _backends(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    for name, backend in catalog.backends.items():
        if backend.pool not in catalog.pools:
            yield _unknown(f"backends.{name}.pool", "pool", backend.pool, catalog.pools)
        if backend.reserved_interactive >= backend.slots:
            left = f"{backend.reserved_interactive} of {backend.slots} slots leave none for other jobs"
            yield CatalogProblem(f"backends.{name}.reserved_interactive", left)
        if backend.keep_in_memory is not None and backend.protocol != "ollama":
            remedy = "only an Ollama takes it: write protocol: ollama, or remove it"
            yield CatalogProblem(f"backends.{name}.keep_in_memory", remedy)
        if backend.responses and backend.protocol != "openai":
            remedy = "only a server of the openai protocol takes it: remove it"
            yield CatalogProblem(f"backends.{name}.responses", remedy)
        yield from validate_keys(name, backend)
        yield from _one_kind_of_engine(catalog, name) if backend.embedded else ()


def _models(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    for name, model in catalog.models.items():
        path = f"models.{name}.backends"
        yield from (
            _unknown(path, "backend", at, catalog.backends) for at in model.backends if at not in catalog.backends
        )
        pools = {catalog.backends[backend].pool for backend in model.backends if backend in catalog.backends}
        if len(pools) > 1:
            yield CatalogProblem(
                path, f"its backends are in different pools ({', '.join(sorted(pools))}): one model, one pool"
            )
        if model.kind is JobKind.EMBEDDING:
            yield from _speaks_anthropic(catalog, name)
        for task in model.quality:
            if task not in catalog.tasks and task != DEFAULT_QUALITY:
                yield _unknown(f"models.{name}.quality.{task}", "task", task, {*catalog.tasks, DEFAULT_QUALITY})


def _speaks_anthropic(catalog: UncheckedCatalog, name: str) -> Iterator[CatalogProblem]:
    model = catalog.models[name]
    for at in model.backends:
        if at in catalog.backends and catalog.backends[at].protocol == "anthropic":
            why = f"{at} speaks Anthropic's protocol, which has no embeddings"
            yield CatalogProblem(f"models.{name}.backends", f"{why}: use another backend, or write embeds: no")


def _one_kind_of_engine(catalog: UncheckedCatalog, backend: str) -> Iterator[CatalogProblem]:
    names = {model.kind: name for name, model in catalog.models.items() if backend in model.backends}
    if len(names) > 1:
        both = f"{names[JobKind.EMBEDDING]} embeds and {names[JobKind.COMPLETION]} completes"
        remedy = "an engine does one of them: add an embedded backend with its own port for the other"
        yield CatalogProblem(f"models.{names[JobKind.EMBEDDING]}.backends", f"{both} at {backend}: {remedy}")


def _names(catalog: UncheckedCatalog, section: str, name: str, chain: tuple[str, ...]) -> Iterator[CatalogProblem]:
    path = f"{section}.{name}"
    if name in catalog.models and chain != (name,):
        yield CatalogProblem(path, "a model has the same name: callers could mean either")
    if section == "tasks" and name in catalog.roles:
        yield CatalogProblem(path, "a role has the same name: callers could mean either")
    if section == "tasks" and name == DEFAULT_QUALITY:
        yield CatalogProblem(path, f"{DEFAULT_QUALITY!r} is the quality of every other task, and cannot name one")


def _aliases(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    kinds = {"task": catalog.tasks, "role": catalog.roles, "model": catalog.models}
    owners: dict[str, str] = {}
    for name, task in catalog.tasks.items():
        for alias in task.aliases:
            clash = next((f"a {kind} has the same name" for kind, known in kinds.items() if alias in known), "")
            if alias in owners:
                clash = f"task {owners[alias]!r} has the same alias"
            if clash:
                yield CatalogProblem(f"tasks.{name}.aliases", f"{alias!r}: {clash}: callers could mean either")
            owners[alias] = name


def _role(catalog: UncheckedCatalog, path: str, role: Role) -> Iterator[CatalogProblem]:
    yield from _chain(catalog, f"{path}.chain", role.chain, role.local_only)
    yield from _one_kind(catalog, f"{path}.chain", role)
    yield from _pattern(f"{path}.pattern", role.pattern)
    yield from () if role.open_fall is None else _remedies(f"{path}.open_fall", role.open_fall)
    yield from _ensemble(catalog, path, role)


def _chain(catalog: UncheckedCatalog, path: str, chain: tuple[str, ...], local_only: bool) -> Iterator[CatalogProblem]:
    yield from (_unknown(path, "model", alias, catalog.models) for alias in chain if alias not in catalog.models)
    if len(set(chain)) < len(chain):
        yield CatalogProblem(path, "it names a model twice")
    if local_only and all(_stays(catalog, alias) is False for alias in chain):
        yield CatalogProblem(path, "its jobs may only go to local models, and none of these is one")


def _one_kind(catalog: UncheckedCatalog, path: str, role: Role) -> Iterator[CatalogProblem]:
    """A model that embeds stands alone: it completes nothing, and the vectors of two models do not mix."""
    embedding = [
        name for name in role.chain if name in catalog.models and catalog.models[name].kind is JobKind.EMBEDDING
    ]
    if embedding and len(role.chain) > 1:
        yield CatalogProblem(
            path,
            f"{embedding[0]} embeds texts, and the vectors of two models do not mix: such a chain has one model, "
            "which may have several backends",
        )


def _stays(catalog: UncheckedCatalog, alias: str) -> bool | None:
    """Whether a model is local. None: it has a problem that another check reports."""
    model = catalog.models.get(alias)
    pools = (
        {catalog.backends[at].pool for at in model.backends if at in catalog.backends} if model is not None else set()
    )
    known = [catalog.pools[pool].local for pool in pools if pool in catalog.pools]
    return all(known) if known else None


def _pattern(path: str, pattern: str | None) -> Iterator[CatalogProblem]:
    try:
        re.compile(pattern or "")
    except re.error as error:
        yield CatalogProblem(path, f"not a regular expression: {error.msg}")


def _ensemble(catalog: UncheckedCatalog, role_path: str, role: Role) -> Iterator[CatalogProblem]:
    ensemble, path = role.ensemble, f"{role_path}.ensemble"
    if ensemble is None:
        return
    if ensemble.answers > len(role.chain):
        yield CatalogProblem(f"{path}.answers", f"{ensemble.answers} answers from a chain of {len(role.chain)}")
    if ensemble.judge is None:
        if ensemble.pick == "judge":
            yield CatalogProblem(path, "it has no judge: name a model as its judge")
        return
    if ensemble.pick != "judge":
        yield CatalogProblem(f"{path}.judge", f"the pick is by {ensemble.pick}, so no model judges: write pick: judge")
    if ensemble.judge not in catalog.models:
        yield _unknown(f"{path}.judge", "model", ensemble.judge, catalog.models)
    elif role.local_only and _stays(catalog, ensemble.judge) is False:
        yield CatalogProblem(f"{path}.judge", "its jobs may only go to local models, and this one is not")


def _groups(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    names: set[str] = set()
    for group in catalog.groups:
        path = f"groups.{group.name}"
        if group.name in names:
            yield CatalogProblem(path, "another group has the same name")
        names.add(group.name)
        named = [key for key in ("role", "task", "chain") if getattr(group, key) is not None]
        if len(named) > 1:
            yield CatalogProblem(path, f"it names a {' and a '.join(named)}: only one of them can choose the models")
        if group.bound and not named:
            yield CatalogProblem(f"{path}.bound", "it names no role, task or chain whose models it could be bound to")
        yield from _target(catalog, path, group)


def _target(catalog: UncheckedCatalog, path: str, group: Group) -> Iterator[CatalogProblem]:
    if group.role is not None and group.role not in catalog.roles:
        yield _unknown(f"{path}.role", "role", group.role, catalog.roles)
    if group.task is not None and group.task not in catalog.tasks:
        yield _unknown(f"{path}.task", "task", group.task, catalog.tasks)
    if group.chain is not None:
        yield from _chain(catalog, f"{path}.chain", group.chain, group.local_only)
    for key, role in (("role", catalog.roles.get(group.role or "")), ("task", catalog.tasks.get(group.task or ""))):
        if role is not None and group.local_only and all(_stays(catalog, alias) is False for alias in role.chain):
            yield CatalogProblem(f"{path}.{key}", "its jobs may only go to local models, and this chain has none")


def _unreachable(groups: tuple[Group, ...]) -> Iterator[CatalogProblem]:
    """Patterns that never match: the first matching group applies, and an earlier pattern covers this one."""
    for index, group in enumerate(groups):
        for pattern in group.match:
            wider = next(
                ((earlier, wide) for earlier in groups[:index] for wide in earlier.match if _covers(wide, pattern)),
                None,
            )
            if wider is not None:
                message = f"{pattern!r} never matches: group {wider[0].name!r} comes first and matches {wider[1]!r}"
                yield CatalogProblem(f"groups.{group.name}.match", message)


def _covers(wide: str, narrow: str) -> bool:
    """Whether `wide` matches everything that `narrow` matches. False where that is not certain.

    A `*` also matches wildcards, so a `wide` of stars and letters can be matched against the text of a pattern.
    Brackets in it match more than their text, and a `?` in `wide` matches less: with them `narrow` must be plain text.
    """
    if wide == narrow:
        return True
    stars_only = not set(wide) & set("?[") and "[" not in narrow
    plain = not set(narrow) & set("*?[")
    return (stars_only or plain) and fnmatchcase(narrow, wide)


def _shares(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    policies = catalog.urgency
    if Urgency.INTERACTIVE in policies and policies[Urgency.INTERACTIVE].min_share:
        yield CatalogProblem(
            "urgency.interactive.min_share", "interactive jobs already go first: a minimum share is for the less urgent"
        )
    total = sum(policy.min_share for word, policy in policies.items() if word is not Urgency.INTERACTIVE)
    if total > MAX_SHARED:
        yield CatalogProblem(
            "urgency", f"minimum shares of {total:g} together: more than {MAX_SHARED:g} would starve interactive jobs"
        )


def _open_fall(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    policy = catalog.open_fall
    for word in Urgency:
        yield from _remedies(f"open_fall.{word}", policy.remedies.get(word, ()))
    for alias in policy.default_fallbacks:
        if alias not in catalog.models:
            yield _unknown("open_fall.default_fallbacks", "model", alias, catalog.models)
    if len(set(policy.default_fallbacks)) < len(policy.default_fallbacks):
        yield CatalogProblem("open_fall.default_fallbacks", "it names a model twice")
    if policy.release_max is not None and policy.release_initial > policy.release_max:
        first = f"{policy.release_initial} is more than max, which is {policy.release_max}"
        yield CatalogProblem("open_fall.release.initial", first)


def _remedies(path: str, remedies: tuple[Remedy, ...]) -> Iterator[CatalogProblem]:
    if (flaw := validate_remedies(remedies)) is not None:
        yield CatalogProblem(path, flaw)


def _times(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    breakers, retry = catalog.breakers, catalog.retry
    if breakers.open_for_max < breakers.open_for:
        message = f"shorter than open_for, which is {breakers.open_for:g} s"
        yield CatalogProblem("breakers.open_for_max", f"{breakers.open_for_max:g} s is {message}")
    if retry.max_backoff < retry.initial_backoff:
        yield CatalogProblem(
            "retry.max_backoff",
            f"{retry.max_backoff:g} s is shorter than initial_backoff, which is {retry.initial_backoff:g} s",
        )


def _unknown(path: str, kind: str, name: str, known: Iterable[str]) -> CatalogProblem:
    return CatalogProblem(path, str(UnknownName(kind, name, known)))
