"""Loads a model into memory from a program, as `openfall models load` does."""

from __future__ import annotations

from dataclasses import dataclass

from openfall.producers.client_store import try_redis
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.redis_connection import RedisConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLoad:
    """What a load did at one backend. `ok`: the model is in memory, is being loaded already, or is always ready."""

    model: str
    backend: str
    ok: bool
    message: str


async def load_model(
    catalog: Catalog, connection: RedisConnection | None, model: str, backend: str | None
) -> list[ModelLoad]:
    """Load a model at its backends, or at one of them. Raises `UnknownName`. Without Redis the fleet learns nothing."""
    from openfall.workers.admin.model_admin import ModelAdmin  # ADR 17: no other use of a client needs worker code

    link = connection if connection and await try_redis(connection.command("PING")) else None
    return [
        ModelLoad(model=model, backend=report["backend"], ok=report["ok"], message=report["message"])
        async for report in ModelAdmin(catalog, link, backend).run("load", model)
    ]
