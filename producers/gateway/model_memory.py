"""Loads and unloads models for callers of the gateway."""

from __future__ import annotations

from typing import Any

from openfall.producers.gateway.access import check_allowed
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.requested_name import resolve_name
from openfall.producers.operations.model_orders import order_model
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.routing.chain_selection import AUTO


def first_model(catalog: Catalog, name: str) -> str:
    """The model that a name means: itself, or the first of the chain of a role or a task. Raises `UnknownName`."""
    task = catalog.find_task(name)
    role = catalog.roles.get(name) or (catalog.tasks[task] if task is not None else None)
    if role is not None:
        return role.chain[0]
    if name == AUTO and AUTO not in catalog.models and catalog.models:
        return next(iter(catalog.models))
    return catalog.find_model(name)


async def administer(
    exchange: Exchange, verb: str, alias: str, *, force: bool = False, is_audited: bool = True
) -> list[dict[str, Any]]:
    """Load, unload or check a model at each of its backends. The reports. A change leaves a line in the audit log,
    unless it is not one of an operator (`is_audited`)."""
    gateway = exchange.gateway
    reports = order_model(
        gateway.config, gateway.client.store.connection, verb, alias,
        actor=exchange.caller.name, via="http", force=force, is_audited=is_audited,
    )  # fmt: skip
    return [report async for report in reports]


async def set_in_memory(exchange: Exchange, name: object, *, loaded: bool) -> list[dict[str, Any]]:
    """Load the model that a caller names, or unload it, at each of its backends, and wait for it. The reports.

    Clients of an Ollama load a model whenever a person selects it: as little a matter of the audit log as a job.

    Raises `Refusal` if the caller may not, or it failed at every backend, and `UnknownName`.
    """
    if not isinstance(name, str) or not name:
        raise Refusal("bad_request", "`model` must be text: the name of a role, task or model", "model")
    gateway = exchange.gateway
    known = resolve_name(gateway.config.catalog, gateway.settings.aliases, name)
    check_allowed(exchange.caller, known)
    if not loaded and not exchange.caller.admin:
        raise Refusal("not_allowed", "only a key of an administrator may unload a model: others may use it", "model")
    alias = first_model(gateway.config.catalog, known)
    reports = await administer(exchange, "load" if loaded else "unload", alias, is_audited=not loaded)
    if not any(report["ok"] for report in reports):
        cause = str(reports[0].get("error") or "other")
        raise Refusal(cause, f"{alias}: {reports[0]['message']}")
    return reports
