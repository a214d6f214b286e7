"""What workers report of their backends: loaded models, failed loads, health checks. Others read the last report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import to_json

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_reports
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.urgent_write import urgent_command

HEALTH_TTL_SECONDS = 30.0
"""Seconds for which a health check is valid."""
LOADED_TTL_SECONDS = 30.0
"""Seconds for which the list of a backend's loaded models is valid."""


async def remember_loaded(link: RedisConnection, backend: str, models: Iterable[str], now: float) -> None:
    """Write down which models (upstream names) a backend has in memory. `now` on the server's clock."""
    await urgent_command(link, "HSET", keys.LOADED, backend, to_json({"at": now, "models": sorted(models)}))


async def remember_load_error(link: RedisConnection, target: str, detail: str, now: float) -> None:
    """Write down why a load failed. `now` on the server's clock."""
    await urgent_command(link, "HSET", keys.LOAD_ERRORS, target, to_json({"at": now, "detail": detail}))


async def forget_load_errors(link: RedisConnection, targets: Iterable[str]) -> None:
    """These models are in memory."""
    if names := tuple(targets):
        await link.command("HDEL", keys.LOAD_ERRORS, *names)


async def remembered_load_errors(link: RedisConnection) -> dict[str, Mapping[str, Any]]:
    """`at` and `detail` of each load that failed, and has not succeeded since."""
    return await _fetch_fields(link, keys.LOAD_ERRORS)


async def remember_other_models(link: RedisConnection, backend: str, models: Mapping[str, bool], now: float) -> None:
    """Write down the models of a backend that the catalog does not name, and whether each is in memory."""
    await urgent_command(link, "HSET", keys.OTHER_MODELS, backend, to_json({"at": now, "models": dict(models)}))


async def remembered_other_models(link: RedisConnection) -> dict[str, Mapping[str, Any]]:
    """By backend `at` and `models`, as they were written down last."""
    reports = await _fetch_fields(link, keys.OTHER_MODELS)
    return {name: report for name, report in reports.items() if isinstance(report.get("models"), dict)}


async def remember_health(link: RedisConnection, target: str, check: Mapping[str, Any]) -> None:
    """Write down the result of a health check: `at` (server's clock), `ok`, `how`, `latency`, `detail`; of a
    failed one also `error` (its class) and `cause` (see `describe_cause`)."""
    await urgent_command(link, "HSET", keys.HEALTH, target, to_json(dict(check)))


async def forget_health(link: RedisConnection, target: str) -> None:
    """The last check of a target is no longer true."""
    await link.command("HDEL", keys.HEALTH, target)


async def remembered_health(link: RedisConnection) -> dict[str, Mapping[str, Any]]:
    """The last health check of every target that had one."""
    return await _fetch_fields(link, keys.HEALTH)


async def _fetch_fields(link: RedisConnection, key: str) -> dict[str, Mapping[str, Any]]:
    reply = await link.command("HGETALL", key)
    with link.notes.reading(key):
        return dict(read_reports(reply))
