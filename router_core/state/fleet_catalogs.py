"""Which configurations the members of a fleet read, by the digests that workers and gateways register."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_text
from openfall.router_core.state.fleet_status import GatewayStatus, WorkerStatus, fetch_worker
from openfall.router_core.state.redis_connection import RedisConnection, pairs
from openfall.router_core.state.server_clock import fetch_server_time

MAX_NAMES = 3
"""Workers and gateways that a message names for each configuration."""

FleetMember = WorkerStatus | GatewayStatus


async def fetch_workers(link: RedisConnection) -> list[WorkerStatus]:
    """The workers that rq knows, in two round trips."""
    now, names, presence = await asyncio.gather(
        fetch_server_time(link),
        link.command("SMEMBERS", keys.RQ_WORKERS),
        link.command("ZRANGE", keys.PRESENCE, 0, -1, "WITHSCORES"),
    )
    alive = {name for name, until in pairs(presence).items() if float(until) / 1000 > now}
    workers = await asyncio.gather(*(fetch_worker(link, read_text(key), alive, now) for key in sorted(names)))
    return [worker for worker in workers if worker is not None]


def has_other_catalog(member: FleetMember, own_digest: str) -> bool:
    """Whether a live worker or gateway reads another configuration."""
    is_alive = isinstance(member, GatewayStatus) or member.alive
    return is_alive and member.catalog not in ("", own_digest)


CATALOG_REMEDY = (
    "Use one file and one version of openfall on every machine; `openfall config show` prints what is in force"
)


def describe_catalogs(members: Iterable[FleetMember], own_digest: str, own: str) -> str:
    """Which live members read another configuration than this process, and the remedy, in words; empty: none. `own` is
    what the message calls that of this process."""
    difference = catalog_difference(members, own_digest, own)
    return f"{difference}. {CATALOG_REMEDY}" if difference else ""


def catalog_difference(members: Iterable[FleetMember], own_digest: str, own: str) -> str:
    """Which live members read another configuration than this process, in words; empty: none."""
    others: dict[str, list[str]] = {}
    for member in members:
        if has_other_catalog(member, own_digest):
            others.setdefault(member.catalog, []).append(member.name)
    if not others:
        return ""
    parts = "; ".join(f"{digest}: {_list_names(names)}" for digest, names in sorted(others.items()))
    return f"workers or gateways read another configuration than {own} ({own_digest}): {parts}"


def _list_names(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(sorted(names)[:MAX_NAMES]) + more
