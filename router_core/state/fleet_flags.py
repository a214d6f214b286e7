"""Flags of the whole fleet: local only, memory pressure, locks; and what workers know of their backends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_reports, read_text
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.urgent_write import urgent_command

MEMORY_CHECK_INTERVAL_SECONDS = 1.0
"""Seconds for which one check is good for the whole fleet."""
MEMORY_PRESSURE_TTL_SECONDS = 5.0
"""Seconds for which no job is accepted after a check found no room. It ends by itself when no worker is left to
check."""

NO_END = -1
"""How PTTL replies for a key without an end."""

_LOCAL_ONLY = "local-only"
"""A field of the blocks, so that a claim reads it together with them."""


async def local_only(link: RedisConnection) -> str | None:
    """Why jobs must stay in the local pools now; None: they may leave."""
    value = await link.command("HGET", keys.BLOCKED, _LOCAL_ONLY)
    return None if value is None else read_text(value)


async def set_local_only(link: RedisConnection, on: bool, why: str = "") -> None:
    """Switch on: no claim hands a job to a pool that is not local. Switch off: claims do again."""
    if on:
        await urgent_command(link, "HSET", keys.BLOCKED, _LOCAL_ONLY, why or "an operator switched it on")
    else:
        await link.command("HDEL", keys.BLOCKED, _LOCAL_ONLY)


async def remember_loaded(link: RedisConnection, backend: str, models: Iterable[str], now: float) -> None:
    """Write down which models (upstream names) a backend has in memory. `now` on the server's clock."""
    await link.command("HSET", keys.LOADED, backend, to_json({"at": now, "models": sorted(models)}))


async def remember_load_error(link: RedisConnection, target: str, detail: str, now: float) -> None:
    """Write down why a load failed. `now` on the server's clock."""
    await link.command("HSET", keys.LOAD_ERRORS, target, to_json({"at": now, "detail": detail}))


async def forget_load_errors(link: RedisConnection, targets: Iterable[str]) -> None:
    """These models are in memory."""
    if names := tuple(targets):
        await link.command("HDEL", keys.LOAD_ERRORS, *names)


async def remembered_load_errors(link: RedisConnection) -> dict[str, Mapping[str, Any]]:
    """`at` and `detail` of each load that failed, and has not succeeded since."""
    return _fields(await link.command("HGETALL", keys.LOAD_ERRORS))


async def remember_other_models(link: RedisConnection, backend: str, models: Mapping[str, bool], now: float) -> None:
    """Write down the models of a backend that the catalog does not name, and whether each is in memory."""
    await link.command("HSET", keys.OTHER_MODELS, backend, to_json({"at": now, "models": dict(models)}))


async def remembered_other_models(link: RedisConnection) -> dict[str, Mapping[str, Any]]:
    """By backend `at` and `models`, as they were written down last."""
    reports = _fields(await link.command("HGETALL", keys.OTHER_MODELS))
    return {name: report for name, report in reports.items() if isinstance(report.get("models"), dict)}


async def try_lock(link: RedisConnection, name: str, seconds: float) -> bool:
    """True for the first caller in the fleet within `seconds`: one worker does it for all."""
    lock = keys.LOCK + name
    take = ("SET", lock, 1, "NX", "PX", int(seconds * 1000))
    taken, rest_ms = await asyncio.gather(link.command(*take), link.command("PTTL", lock))
    if taken is None and rest_ms == NO_END:  # another program wrote it: it would hold for ever
        await link.command("DEL", lock)
        taken = await link.command(*take)
    return taken is not None


async def remember_health(link: RedisConnection, target: str, check: Mapping[str, Any]) -> None:
    """Write down the result of a health check: `at` (server's clock), `ok`, `how`, `latency`, `detail`; of a
    failed one also `error` (its class) and `cause` (see `describe_cause`)."""
    await link.command("HSET", keys.HEALTH, target, to_json(dict(check)))


async def forget_health(link: RedisConnection, target: str) -> None:
    """The last check of a target is no longer true."""
    await link.command("HDEL", keys.HEALTH, target)


async def remembered_health(link: RedisConnection) -> dict[str, Mapping[str, Any]]:
    """The last health check of every target that had one."""
    return _fields(await link.command("HGETALL", keys.HEALTH))


def _fields(reply: Sequence[bytes]) -> dict[str, Mapping[str, Any]]:
    return {name: report.fields for name, report in read_reports(reply).items()}


async def check_memory(link: RedisConnection, limit: float) -> str:
    """Refuse jobs while more than `limit` of `maxmemory` is used. Returns why, when that begins; else empty.

    Without a `maxmemory` no job is ever refused.
    """
    arguments = {
        "max_share": limit,
        "check_ms": int(MEMORY_CHECK_INTERVAL_SECONDS * 800),
        "pressure_ms": int(MEMORY_PRESSURE_TTL_SECONDS * 1000),
    }
    return read_text(await link.script("memory_pressure", arguments))


async def is_suspended(link: RedisConnection) -> bool:
    """Whether `rq suspend` keeps every worker from its next job."""
    return bool(await link.command("EXISTS", keys.RQ_SUSPENDED))
