"""Contradictions of budgets."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.catalog.catalog_errors import CatalogProblem, UnknownName
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.catalog.unchecked_catalog import UncheckedCatalog
from openfall.router_core.vocabulary import JobKind


def validate_budgets(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    """A budget names what exists. An answer without any limit has no bound, so a model that is paid by the token needs
    one as soon as there is a budget."""
    for budget in catalog.budgets:
        yield from _scope(catalog, budget)
        try:
            ZoneInfo(budget.timezone)
        except (ValueError, OSError, ZoneInfoNotFoundError):
            message = "no such time zone: write one such as Europe/Berlin, or UTC"
            yield CatalogProblem(f"budgets.{budget.name}.timezone", message)
    if not catalog.budgets and all(group.daily_usd is None for group in catalog.groups):
        return
    for name, model in catalog.models.items():
        if (
            model.max_tokens is None
            and model.kind is JobKind.COMPLETION
            and any(map(partial(_is_metered, catalog), model.backends))
        ):
            message = "a budget needs the limit of an answer whose request has none: set max_tokens"
            yield CatalogProblem(f"models.{name}", message)


def _scope(catalog: UncheckedCatalog, budget: Budget) -> Iterator[CatalogProblem]:
    """What a budget is for must exist: it would count nothing."""
    groups = {group.name for group in catalog.groups}
    path = f"budgets.{budget.name}"
    for field, kind, known in (
        ("group", "group", groups), ("role", "role", catalog.roles), ("task", "task", catalog.tasks),
        ("model", "model", catalog.models), ("backend", "backend", catalog.backends),
        ("key_of", "backend", catalog.backends),
    ):  # fmt: skip
        name = getattr(budget, field)
        if name is not None and name not in known:
            yield CatalogProblem(f"{path}.{field}", str(UnknownName(kind, name, known)))
    if budget.name.startswith("group-") and budget.name.removeprefix("group-") in groups:
        yield CatalogProblem(f"{path}.name", "this name is that of a group's daily_usd")


def validate_flex(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    """The service tier `flex` is one of OpenAI's protocol, at a backend that is paid by the token."""
    for name, model in catalog.models.items():
        known = [catalog.backends[at] for at in model.backends if at in catalog.backends]
        if model.flex and not all(spec.protocol == "openai" for spec in known):
            yield CatalogProblem(f"models.{name}.flex", "only backends of the openai protocol have it: remove it")


def _is_metered(catalog: UncheckedCatalog, backend: str) -> bool:
    spec = catalog.backends.get(backend)
    if spec is None or spec.pool not in catalog.pools:
        return False
    return spec.billing is Billing.METERED or (spec.billing is None and not catalog.pools[spec.pool].local)
