"""The role, task or model of a job for which neither its caller, its group nor its words name one."""

from __future__ import annotations

from collections.abc import Mapping

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_index import model_index
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.vocabulary import JobKind

DEFAULT_ROLE = "chat"


def default_chain(catalog: Catalog, kind: JobKind) -> tuple[str, str] | None:
    """The configured default, else role `chat`; else the cheapest role, task or model; with why, for people. None: no
    model is of the kind.

    The configured default is for completions, unless it embeds.
    """
    configured = catalog.default
    own = catalog.roles.get(configured or "") or catalog.tasks.get(configured or "")
    other_kind = own is not None and kind is JobKind.EMBEDDING and not has_kind(catalog, own.chain, kind)
    if configured is not None and not other_kind:
        return configured, "the default"
    roles, tasks = _choices(catalog, catalog.roles, kind), _choices(catalog, catalog.tasks, kind)
    models = {alias: (alias,) for alias, spec in catalog.models.items() if spec.kind is kind}
    chains = roles or tasks or models
    if not chains:
        return None
    if DEFAULT_ROLE in roles:
        return DEFAULT_ROLE, "the default"
    cheapest = min(chains, key=lambda name: _first_price(catalog, chains[name]))
    return cheapest, "the default: the cheapest" if len(chains) > 1 else "the default"


def has_kind(catalog: Catalog, chain: tuple[str, ...], kind: JobKind) -> bool:
    """Whether a model of a chain is of this kind."""
    return any(catalog.models[alias].kind is kind for alias in chain)


def _choices(catalog: Catalog, roles: Mapping[str, Role], kind: JobKind) -> dict[str, tuple[str, ...]]:
    """The chains of the roles that call one model for each job, and a model of this kind."""
    single = {name: role.chain for name, role in roles.items() if role.ensemble is None}
    return {name: chain for name, chain in single.items() if has_kind(catalog, chain, kind)}


def _first_price(catalog: Catalog, chain: tuple[str, ...]) -> float:
    """The price of the model that is called first. An unknown price is the highest."""
    price = model_index(catalog)[chain[0]].price
    return float("inf") if price is None else price
