"""Reads the sections of a file in the order in which they refer to each other, and checks what the catalog cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from openfall.config.backend_urls import PUBLIC_URLS, check_embedded, refuse_own_gateway, refuse_provider
from openfall.config.default_prices import add_prices
from openfall.config.errors import quoted
from openfall.config.fields import build, keys_of, named_entries
from openfall.config.open_fall_settings import OpenFallSection
from openfall.config.paths import resolve
from openfall.config.redis_section import default_redis
from openfall.config.sections import BackendSection, ConfigFile
from openfall.config.service_environment import state_directory
from openfall.config.settings import EngineSettings, Settings, SettingsSections
from openfall.config.unpriced_passthrough import refuse_unpriced_requests
from openfall.config.yaml_document import Names, Node
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_errors import CatalogError
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.model_names import models_meant
from openfall.router_core.catalog.pools import POOL_DEFAULTS, Pool
from openfall.router_core.catalog.roles_and_tasks import Role, TaskType
from openfall.router_core.catalog.urgency_policy import URGENCY_DEFAULTS, UrgencyPolicy
from openfall.router_core.catalog.validation import DEFAULT_QUALITY
from openfall.router_core.vocabulary import Urgency

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R", bound=Role)
N = TypeVar("N", Group, Budget)
Sections = Mapping[str, Node]


def read_file(top: Node, source: Path) -> tuple[Catalog, Settings] | None:
    """The catalog and the settings of a file. None if the catalog contradicts itself."""
    document, keys = top.document, keys_of(ConfigFile)
    sections = {key: node for key, node in top.fields(keys).items() if not node.is_empty}
    pools, backends, engines = _read_backends(sections, document.names)
    models = _read_models(sections, document.names, pools, backends)
    document.names["model"] = _model_names(sections, models)
    roles, tasks = _read_roles(sections.get("roles"), Role), _read_roles(sections.get("tasks"), TaskType)
    document.names["role"] = _names(sections, "roles", roles)
    document.names["task"] = replace(_names(sections, "tasks", tasks), meant=lambda name: _aliased(tasks, name))
    document.names["role or task"] = _role_or_task(document.names, {*roles, *tasks})
    groups = _read_named(sections.get("groups"), "groups", Group, {"name", "match"})
    budgets = _read_named(sections.get("budgets"), "budgets", Budget, {"name", "usd"})
    single: dict[str, Any] = {
        name: key.type.read(sections[name])
        for name, key in keys.items()
        if name in sections and isinstance(key.default, BaseModel)
    }
    open_fall = single.pop("open_fall", OpenFallSection())
    redis = single.pop("redis", None) or default_redis(document)
    written = keys["data"].type.read(sections["data"]) if "data" in sections else None
    data = written or state_directory(document.environ) or keys["data"].default
    settings = Settings(
        source=source,
        redis=redis,
        data_dir=resolve(data, document.base, document.environ),
        engines=engines,
        notify=open_fall.notify,
        **{name: section for name, section in single.items() if name in SettingsSections.model_fields},
    )
    _refuse_contradictions(sections, backends, settings)
    parts = {
        "pools": pools, "backends": backends, "models": models, "roles": roles, "tasks": tasks,
        "groups": groups, "budgets": budgets,
        "urgency": _read_urgency(sections.get("urgency")), "open_fall": open_fall.policy(),
        "default": keys["default"].type.read(sections["default"]) if "default" in sections else None,
        "local_only": settings.privacy.local_only,
        **{name: section for name, section in single.items() if name in Catalog.model_fields},
    }  # fmt: skip
    return (catalog, settings) if (catalog := _validate(top, parts, settings)) is not None else None


def _role_or_task(names: Mapping[str, Names], valid: set[str]) -> Names:
    return Names({*names["role"].known, *names["task"].known}, valid, names["task"].meant)


def _model_names(sections: Sections, models: Mapping[str, ModelSpec]) -> Names:
    upstreams = {name: model.upstream for name, model in models.items() if "upstream" in model.model_fields_set}
    return replace(_names(sections, "models", models), meant=lambda name: models_meant(name, upstreams))


def _aliased(tasks: Mapping[str, TaskType], name: str) -> tuple[str, ...]:
    return tuple(task for task, spec in tasks.items() if name in spec.aliases)


def _names(sections: Sections, section: str, valid: Mapping[str, object]) -> Names:
    return Names(sections[section].entries() if section in sections else valid, valid)


def _read_backends(
    sections: Sections, names: dict[str, Names]
) -> tuple[Mapping[str, Pool], dict[str, Backend], dict[str, EngineSettings]]:
    """The pools, the backends whose pool is known, and the engines of the embedded ones."""
    pools: Mapping[str, Pool] = POOL_DEFAULTS
    if "pools" in sections:
        pools = {name: build(Pool, node) for name, node in named_entries(sections["pools"])}
    names["pool"] = _names(sections, "pools", pools)
    backends, engines = {}, {}
    for name, node in named_entries(sections.get("backends")):
        section = build(BackendSection, node, _default_url(node))
        backend = section.backend()
        if "pool" in backend.model_fields_set:
            backends[name] = backend
            refuse_provider(node, backend, pools)
        if backend.embedded:
            check_embedded(node, backend)
            engine = section.engine or EngineSettings()
            engines[name] = engine.model_copy(update={"parallel": engine.parallel or backend.slots})
        elif "engine" in node.entries():
            remedy = "Add embedded: yes to the backend, or remove this."
            node.entries()["engine"].report("only an embedded backend has an engine", remedy)
    names["backend"] = _names(sections, "backends", backends)
    return pools, backends, engines


def _default_url(node: Node) -> dict[str, str]:
    """The address of a backend that names only its protocol. An embedded engine has to have its port."""
    entries = node.entries() if node.is_mapping else {}
    if "url" in entries or "protocol" not in entries or "embedded" in entries:
        return {}
    url = PUBLIC_URLS.get(keys_of(Backend)["protocol"].type.read(entries["protocol"]) or "")
    return {"url": url} if url is not None else {}


def _read_models(
    sections: Sections, names: dict[str, Names], pools: Mapping[str, Pool], backends: Mapping[str, Backend]
) -> dict[str, ModelSpec]:
    """The models with at least one known backend."""
    tasks = {*(sections["tasks"].entries() if "tasks" in sections else ()), DEFAULT_QUALITY}
    names["task"] = Names(tasks, tasks)
    models = {}
    for name, node in named_entries(sections.get("models")):
        model = build(ModelSpec, node)
        if "backends" not in model.model_fields_set:
            continue
        if "upstream" not in model.model_fields_set:  # it is reported: the rest of the file is checked all the same
            model = model.model_copy(update={"upstream": ""})
        models[name] = model
        local = [backends[backend].pool for backend in model.backends if pools[backends[backend].pool].local]
        if local and model.passed_on:
            message = f"{quoted(model.upstream)} runs in the cloud, but pool {quoted(local[0])} is local"
            remedy = "Serve it at a backend of a pool that is not local."
            node.find("upstream").report(message, remedy)
    return models


def _read_roles(section: Node | None, model: type[R]) -> dict[str, R]:
    """The roles or tasks with at least one known model."""
    roles = {}
    for name, node in named_entries(section):
        role = build(model, node)
        if "chain" not in role.model_fields_set:
            continue
        # Consequences of a mistake in a chain or an ensemble are not reported: the catalog does not see the ensemble.
        broken = tuple(f"{node.path}.{key}" for key in ("chain", "ensemble"))
        faulty = any(problem.path.startswith(broken) for problem in node.document.problems)
        roles[name] = role.model_copy(update={"ensemble": None}) if faulty else role
    return roles


def _read_named(section: Node | None, name: str, model: type[N], required: set[str]) -> tuple[N, ...]:
    """The entries of a list that have what they require, in order. Each gives itself a name."""
    entries: dict[str, N] = {}
    for number, item in enumerate(section.items() if section is not None else (), start=1):
        node = replace(item, path=f"{name}.{item.name or number}")
        entry = build(model, node)
        if not required <= entry.model_fields_set:
            continue
        if entry.name in entries:
            node.report(f"another {name[:-1]} is called {quoted(entry.name)}", "Give each a name of its own.")
        else:
            entries[entry.name] = entry
    return tuple(entries.values())


def _read_urgency(section: Node | None) -> Mapping[Urgency, UrgencyPolicy]:
    """The default policies, with what the section changes."""
    nodes = section.fields(list(Urgency)) if section is not None else {}
    changed = {
        Urgency(word): _shorten_defaults(
            build(UrgencyPolicy, node, URGENCY_DEFAULTS[Urgency(word)].model_dump()), node.entries()
        )
        for word, node in nodes.items()
    }
    return {**URGENCY_DEFAULTS, **changed}


def _shorten_defaults(policy: UrgencyPolicy, written: Mapping[str, Node]) -> UrgencyPolicy:
    """The policy with each time limit that the file leaves out shortened to fit into the limits that it has."""
    shorter: dict[str, float] = {}
    for name in ("timeout", "reply_within"):
        value = getattr(policy, name)
        if name not in written and value is not None and value >= policy.expires_after:
            shorter[name] = policy.expires_after / 2
    policy = policy.model_copy(update=shorter)
    bounds = {"first_token_timeout": (policy.timeout, policy.reply_within), "stall_timeout": (policy.timeout,)}
    for name, limits in bounds.items():
        value = getattr(policy, name)
        if name not in written and value is not None:
            policy = policy.model_copy(update={name: min([value, *(limit for limit in limits if limit is not None)])})
    return policy


def _validate(top: Node, parts: Mapping[str, Any], settings: Settings) -> Catalog | None:
    """The catalog of these parts. None, and its contradictions reported, if there are any."""
    try:
        catalog = add_prices(Catalog.model_validate(parts))
        refuse_unpriced_requests(top, catalog, settings.gateway)
        return catalog
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
    causes = [fault.get("ctx", {}).get("error") for fault in faults]
    for problem in [problem for cause in causes if isinstance(cause, CatalogError) for problem in cause.problems]:
        path = _written_path(problem.path, top.entries().get("open_fall"))
        message = problem.message + _line_of(top, problem.other_path)
        top.document.report(top.find(path).line, path, message, problem.remedy)
    if not top.document.problems:  # none of ours: no error may be without words
        top.document.report(0, "", faults[0]["msg"])
    return None


def _line_of(top: Node, path: str) -> str:
    """Where the file has the other value of a contradiction; empty if it is a default."""
    node = top.find(path) if path else None
    return f" (line {node.line})" if node is not None and node.path == path else ""


def _written_path(path: str, section: Node | None) -> str:
    """Where the file has a value of the catalog: the remedies of an urgency may come from `default`."""
    name, _, key = path.partition(".")
    written = section.entries() if section is not None else {}
    return "open_fall.default" if name == "open_fall" and key in set(Urgency) and key not in written else path


def _refuse_contradictions(sections: Sections, backends: Mapping[str, Backend], settings: Settings) -> None:
    """Report a contradiction between two sections of which the catalog knows one or none."""
    _refuse_unsigned(sections.get("open_fall"), settings)
    for name, backend in backends.items():
        refuse_own_gateway(sections["backends"].entries()[name], backend, settings.gateway.listen)


def _refuse_unsigned(section: Node | None, settings: Settings) -> None:
    """Report a webhook that cannot be signed, unless its secret has a problem of its own."""
    if section is None or settings.notify.webhook is None or settings.webhooks.secret is not None:
        return
    if all(problem.path != "webhooks.secret" for problem in section.document.problems):
        message, remedy = "a webhook is signed, and there is nothing to sign it with", "Set webhooks: secret."
        section.find("notify.webhook").report(message, remedy)
