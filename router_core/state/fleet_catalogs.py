"""Which configurations the members of a fleet read, by the digests that workers register."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_text
from openfall.router_core.state.fleet_status import WorkerStatus, fetch_worker
from openfall.router_core.state.redis_connection import RedisConnection, pairs
from openfall.router_core.state.server_clock import fetch_server_time

MAX_NAMES = 3
"""Workers that a message names for each configuration."""


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


def has_other_catalog(worker: WorkerStatus, own_digest: str) -> bool:
    """Whether a live worker reads another configuration."""
    return worker.alive and worker.catalog not in ("", own_digest)


CATALOG_REMEDY = (
    "Use one file and one version of openfall on every machine; `openfall config show` prints what is in force"
)


def describe_catalogs(workers: Iterable[WorkerStatus], own_digest: str) -> str:
    """Which live workers read another configuration than this process, and the remedy, in words; empty: none."""
    difference = catalog_difference(workers, own_digest)
    return f"{difference}. {CATALOG_REMEDY}" if difference else ""


def catalog_difference(workers: Iterable[WorkerStatus], own_digest: str) -> str:
    """Which live workers read another configuration than this process, in words; empty: none."""
    others: dict[str, list[str]] = {}
    for worker in workers:
        if has_other_catalog(worker, own_digest):
            others.setdefault(worker.catalog, []).append(worker.name)
    if not others:
        return ""
    parts = "; ".join(f"{digest}: {_list_names(names)}" for digest, names in sorted(others.items()))
    return f"workers read another configuration than this file ({own_digest}): {parts}"


def _list_names(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(sorted(names)[:MAX_NAMES]) + more
