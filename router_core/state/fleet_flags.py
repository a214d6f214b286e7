"""Switches for the whole fleet, and what workers have seen of their backends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import from_json, to_json

from openfall.router_core.state import keys
from openfall.router_core.state.redis_connection import RedisConnection, pairs

MEMORY_CHECK_INTERVAL_SECONDS = 1.0
"""Seconds for which one look is good for the whole fleet."""
MEMORY_PRESSURE_TTL_SECONDS = 5.0
"""Seconds for which nothing is accepted after a look that found no room: without workers nobody refuses for ever."""

_LOCAL_ONLY = "local-only"
"""A field of what blocks calls, so that a claim reads it with the rest."""


async def local_only(link: RedisConnection) -> str | None:
    """Why nothing may leave the local pools now; None: jobs may."""
    told = await link.command("HGET", keys.BLOCKED, _LOCAL_ONLY)
    return None if told is None else str(told.decode())


async def set_local_only(link: RedisConnection, on: bool, why: str = "") -> None:
    """From now on no claim hands a job to a pool that is not local; or it does again."""
    if on:
        await link.command("HSET", keys.BLOCKED, _LOCAL_ONLY, why or "an operator said so")
    else:
        await link.command("HDEL", keys.BLOCKED, _LOCAL_ONLY)


async def remember_loaded(link: RedisConnection, backend: str, models: Iterable[str], now: float) -> None:
    """Write down which models (upstream names) a backend has in memory. `now` on the server's clock."""
    await link.command("HSET", keys.LOADED, backend, to_json({"at": now, "models": sorted(models)}))


async def try_lock(link: RedisConnection, what: str, seconds: float) -> bool:
    """True for the first of the whole fleet that asks within `seconds`: one looks for all."""
    taken = await link.command("SET", f"{keys.LOCK}{what}", 1, "NX", "PX", int(seconds * 1000))
    return taken is not None


async def remember_health(link: RedisConnection, target: str, told: Mapping[str, Any]) -> None:
    """Write down what a health check came to: `at` (server's clock), `ok`, `how`, `latency` and `detail`."""
    await link.command("HSET", keys.HEALTH, target, to_json(dict(told)))


async def remembered_health(link: RedisConnection) -> dict[str, dict[str, Any]]:
    """The last health check of every target that had one."""
    return {target: from_json(row) for target, row in pairs(await link.command("HGETALL", keys.HEALTH)).items()}


async def loaded_models(link: RedisConnection) -> dict[str, dict[str, Any]]:
    """By backend: `at`, and the `models` in its memory."""
    return {name: from_json(row) for name, row in pairs(await link.command("HGETALL", keys.LOADED)).items()}


async def check_memory(link: RedisConnection, limit: float) -> str:
    """Refuse jobs if more than `limit` of `maxmemory` is used, else take them again. Why, when that begins; else empty.

    Without a `maxmemory` nothing is ever refused.
    """
    arguments = {
        "max_share": limit,
        "check_ms": int(MEMORY_CHECK_INTERVAL_SECONDS * 800),
        "pressure_ms": int(MEMORY_PRESSURE_TTL_SECONDS * 1000),
    }
    told = await link.script("memory_pressure", arguments)
    return str(told.decode())


async def fetch_memory_pressure(link: RedisConnection) -> str | None:
    """Why nothing is accepted now; None: it is."""
    told = await link.command("GET", keys.MEMORY_PRESSURE)
    return None if told is None else str(told.decode())
