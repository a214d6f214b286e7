"""Loads and unloads models for callers of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from openfall.producers.gateway.access import check_allowed
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.requested_name import resolve_name
from openfall.producers.operations.model_orders import order_model
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.routing.chain_selection import AUTO

T = TypeVar("T")
_loads: set[asyncio.Task[Any]] = set()


def requested_name(exchange: Exchange, body: Mapping[str, Any], *fields: str) -> str:
    """The role, task or model that the first of these fields with a value means. Raises `Refusal` and `UnknownName`."""
    named = next((body[field] for field in fields if body.get(field)), None)
    if not isinstance(named, str):
        raise Refusal("bad_request", "`model` must be text: the name of a role, task or model", "model")
    return resolve_name(exchange.catalog, exchange.settings.aliases, named)


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
    reports = order_model(
        exchange.config, exchange.link, verb, alias,
        actor=exchange.caller.name, via="http", force=force, is_audited=is_audited,
    )  # fmt: skip
    return [report async for report in reports]


async def move_model(exchange: Exchange, verb: str, alias: str, is_audited: bool) -> None:
    """Load or unload a model at each of its backends. Raises `Refusal` if it failed at every one."""
    reports = await administer(exchange, verb, alias, is_audited=is_audited)
    if not any(report["ok"] for report in reports):
        raise Refusal(str(reports[0].get("error") or "other"), f"{alias}: {reports[0]['message']}")


def start_load(load: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a load that goes on after its response."""
    task = asyncio.create_task(load, name="load")
    _loads.add(task)
    task.add_done_callback(_loads.discard)
    return task


async def set_in_memory(exchange: Exchange, body: Mapping[str, Any], *, loaded: bool) -> None:
    """Load the model that a request names, or unload it, at each of its backends, and wait for it.

    Clients of an Ollama load a model whenever a person selects it: as little a matter of the audit log as a job.

    Raises `Refusal` if the caller may not, or it failed at every backend, and `UnknownName`.
    """
    known = requested_name(exchange, body, "model")
    check_allowed(exchange.caller, known)
    if not loaded and not exchange.caller.admin:
        raise Refusal("not_allowed", "only a key of an administrator may unload a model: others may use it", "model")
    await move_model(exchange, "load" if loaded else "unload", first_model(exchange.catalog, known), not loaded)
