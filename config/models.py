"""`models`, `roles` and `urgency`: what callers ask for, and what that means."""

from __future__ import annotations

from collections.abc import Mapping

from config.entries import Table, built, named
from config.kinds import Names, one_of, seconds, size, text
from config.page import Place
from config.problems import quoted
from router_core.catalog import URGENCY_DEFAULTS, Backend, ModelSpec, Pool, Role, UrgencyPolicy
from router_core.job import Urgency

_URGENCY: Table = {"start_within": seconds, "give_up": seconds}
_CLOUD_MARKS = (":cloud", "-cloud")
"""How Ollama names a model that a local host only passes on to a machine of its maker."""


def read_models(section: Place | None, backends: Names) -> dict[str, ModelSpec]:
    """The models with at least one known backend; what is wrong with any is reported."""
    if section is None:
        return {}
    table: Table = {"upstream": text, "at": backends.many, "ctx": size, "timeout": seconds, "max_tokens": size}
    models = {name: built(ModelSpec, place, table) for name, place in named(section)}
    return {name: model for name, model in models.items() if "at" in model.model_fields_set}


def read_roles(section: Place | None, models: Names) -> dict[str, Role]:
    """The roles with at least one known model; what is wrong with any is reported."""
    if section is None:
        return {}
    table: Table = {"chain": models.many, "urgency": one_of("urgency", list(Urgency))}
    roles = {name: built(Role, place, table) for name, place in named(section)}
    return {name: role for name, role in roles.items() if "chain" in role.model_fields_set}


def read_urgency(section: Place | None) -> Mapping[Urgency, UrgencyPolicy]:
    """The urgencies: the catalog's own, with whatever the section says otherwise."""
    fields = section.fields(list(Urgency)) if section is not None else {}
    told = {
        Urgency(word): built(UrgencyPolicy, place, _URGENCY, URGENCY_DEFAULTS[Urgency(word)].model_dump())
        for word, place in fields.items()
    }
    return {**URGENCY_DEFAULTS, **told}


def refuse_leaks(
    section: Place, models: Mapping[str, ModelSpec], backends: Mapping[str, Backend], pools: Mapping[str, Pool]
) -> None:
    """Report each model that a local pool would pass on to the cloud: what is local never leaves."""
    for name, model in models.items():
        upstream = model.upstream if "upstream" in model.model_fields_set else ""
        local = [backends[place].pool for place in model.at if pools[backends[place].pool].local]
        if local and upstream.lower().endswith(_CLOUD_MARKS):
            message = f"{quoted(upstream)} runs in the cloud, but pool {quoted(local[0])} is local"
            remedy = "Serve it at a backend of a pool that is not local."
            section.find(f"{name}.upstream").report(message, remedy)
