"""Reads the facts of a Redis server on which the preconditions depend, in one round trip."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Container, Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic_core import to_json
from redis import exceptions as redis_errors

from openfall.router_core.redis_preconditions import ServerFacts, cli_options
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.redis_connection import RedisConnection, pairs
from openfall.router_core.state.redis_rights import RightSample, missing_rights

_PROBE = """
if not redis.acl_check_cmd then return {false} end
local denied = {}
for i, call in ipairs(cjson.decode(ARGV[1])) do
  local known, allowed = pcall(redis.acl_check_cmd, unpack(call))
  if not known then denied[#denied + 1] = -i elseif not allowed then denied[#denied + 1] = i end
end
return {redis.REDIS_VERSION, unpack(denied)}
"""
"""The version, and the numbers of the calls that the user may not make; negative: the server has no such command. A
Redis older than 7.0 returns nothing."""

_FAILING_WRITES = (
    ("aof_last_write_status", "append-only file"),
    ("aof_last_bgrewrite_status", "rewritten append-only file"),
)
_FUNCTIONS = "FUNCTION|LOAD"


async def fetch_server_facts(link: RedisConnection, samples: Iterable[RightSample]) -> ServerFacts:
    """The facts of the server. What its user may not read is None. Raises a `StoreError` when it does not answer."""
    samples = tuple(samples)
    began = time.time()
    replies = await asyncio.gather(
        link.command("INFO"),
        link.command("CONFIG", "GET", "append*"),
        link.command("CONFIG", "GET", "maxmemory*"),
        link.command("EVAL", _PROBE, 0, to_json([sample.call for sample in samples])),
        link.command("TIME"),
        return_exceptions=True,
    )
    ended = time.time()
    info, appending, memory, probe, clock = map(_unless_refused, replies)
    fields = _info_fields(info or b"")
    config = {name: value.decode() for reply in (appending, memory) for name, value in pairs(reply or []).items()}
    version, *denied = probe or [None]
    denied_samples = [samples[abs(number) - 1] for number in denied]
    unknown = {samples[-number - 1].command for number in denied if number < 0}
    return ServerFacts(
        name="Valkey" if "valkey_version" in fields else "Redis",
        version=fields.get("valkey_version") or fields.get("redis_version") or (version.decode() if version else None),
        user=_user(link),
        cli_options=cli_options(link.server.url or ""),
        has_functions=_runs_functions(replies[3], version, unknown),
        missing_rights=("+eval",) if _lacks_right(replies[3]) else missing_rights(denied_samples, samples),
        unreadable=tuple(name for name, reply in (("info", info), ("config|get", appending)) if reply is None),
        clock_offset_seconds=_offset(clock, began, ended),
        **_settings(fields, config),
    )


def _user(link: RedisConnection) -> str:
    return link.server.username or unquote(urlsplit(link.server.url or "").username or "") or "default"


def _settings(fields: Mapping[str, str], config: Mapping[str, str]) -> dict[str, Any]:
    """What INFO says of the settings, else CONFIG."""
    append_only = fields.get("aof_enabled") or config.get("appendonly")
    max_memory = fields.get("maxmemory") or config.get("maxmemory")
    is_replica = fields.get("role") == "slave" and fields.get("slave_read_only", "1") == "1"
    return {
        "is_cluster": fields.get("cluster_enabled") == "1",
        "primary": f"{fields.get('master_host')}:{fields.get('master_port')}" if is_replica else None,
        "append_only_file": None if append_only is None else append_only in ("1", "yes"),
        "sync_policy": config.get("appendfsync"),
        "eviction_policy": fields.get("maxmemory_policy") or config.get("maxmemory-policy"),
        "max_memory_bytes": None if max_memory is None else int(max_memory),
        "used_memory_bytes": int(fields["used_memory"]) if "used_memory" in fields else None,
        "failing_writes": tuple(words for name, words in _FAILING_WRITES if fields.get(name) == "err"),
    }


def _unless_refused(reply: Any) -> Any:
    """The reply; None for a command that was refused: its right is missing, or the server has no such command.

    Raises other errors.
    """
    if not isinstance(reply, BaseException):
        return reply
    if isinstance(reply, StoreError) and isinstance(reply.__cause__, redis_errors.ResponseError):
        return None
    raise reply


def _runs_functions(probe: Any, version: bytes | None, unknown: Container[str]) -> bool:
    """Whether the server has function libraries, as the reply to the probe shows. A user without the right to run it
    learns nothing: it counts as so. `unknown`: the commands that the server does not have."""
    if isinstance(probe, BaseException):  # Garnet has no EVAL
        return "unknown command" not in str(probe.__cause__)
    return version is not None and _FUNCTIONS not in unknown


def _lacks_right(reply: Any) -> bool:
    return isinstance(reply, StoreError) and isinstance(reply.__cause__, redis_errors.NoPermissionError)


def _info_fields(info: bytes) -> dict[str, str]:
    lines = info.decode("utf-8", "replace").splitlines()
    return {name: value for name, separator, value in (line.partition(":") for line in lines) if separator}


def _offset(clock: Any, began: float, ended: float) -> float:
    """The server's clock minus this machine's, in seconds; 0 if they agree as far as the measurement tells."""
    if clock is None:
        return 0.0
    server = int(clock[0]) + int(clock[1]) / 1e6
    return server - ended if server > ended else min(0.0, server - began)
