"""Marks that show a model as loading at a backend while a process loads it. Cards have their own state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.call_signals import breaker_target
from openfall.router_core.state import keys
from openfall.router_core.state.fleet_lock import try_lock
from openfall.router_core.state.redis_connection import RedisConnection

LOADING_TTL_SECONDS = 900.0
"""Seconds after which a load counts as over: its loader has died."""


@asynccontextmanager
async def note_loading(link: RedisConnection, backend: str, model: str) -> AsyncIterator[bool]:
    """Show a model as loading meanwhile. Yields False when another process loads it already."""
    name = f"loading:{breaker_target(backend, model)}"
    locked = await try_lock(link, name, LOADING_TTL_SECONDS)
    try:
        yield locked
    finally:
        if locked:
            await link.command("DEL", keys.LOCK + name)


async def fetch_loading(link: RedisConnection, catalog: Catalog) -> frozenset[str]:
    """The models that are being loaded, as targets of breakers."""
    targets = [breaker_target(backend, alias) for alias, spec in catalog.models.items() for backend in spec.backends]
    if not targets:
        return frozenset()
    marks = await link.command("MGET", *(f"{keys.LOCK}loading:{name}" for name in targets))
    return frozenset(name for name, mark in zip(targets, marks, strict=True) if mark is not None)


async def seconds_loading(link: RedisConnection, catalog: Catalog, alias: str) -> float | None:
    """The seconds for which a model has been loading, at the backend that began first. None: it is not being loaded."""
    names = [breaker_target(backend, alias) for backend in catalog.models[alias].backends]
    rests = await asyncio.gather(*(link.command("PTTL", f"{keys.LOCK}loading:{name}") for name in names))
    loading = [LOADING_TTL_SECONDS - rest_ms / 1000 for rest_ms in rests if rest_ms > 0]
    return max(loading, default=None)
