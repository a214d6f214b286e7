"""Registers a worker with rq, and notes what rq and `openfall status` show of it."""

from __future__ import annotations

import os
import platform
import socket
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version

from openfall.router_core.state import keys
from openfall.router_core.state.beats_and_leases import RQ_WORKER_TTL_SECONDS
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.urgent_write import urgent_command
from openfall.router_core.state.worker_subscription import WorkerIdentity

_package_version = cache(version)  # it reads a file


async def register(link: RedisConnection, identity: WorkerIdentity) -> None:
    """Register as an idle worker in rq, and name the backends whose leases other workers must reap."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    fields = {
        "birth": now,
        "last_heartbeat": now,
        "queues": ",".join(identity.queues),
        "pid": os.getpid(),
        "hostname": socket.gethostname(),
        "ip_address": "",
        "version": _package_version("rq"),
        "python_version": platform.python_version(),
        "state": "idle",
        keys.CATALOG_FIELD: identity.catalog,
        keys.LOG_FIELD: identity.log,
        keys.QUIET_FIELD: "",
    }
    key = keys.RQ_WORKER + identity.name
    await urgent_command(link, "HSET", key, *(part for pair in fields.items() for part in pair))
    await link.command("EXPIRE", key, RQ_WORKER_TTL_SECONDS)
    await urgent_command(link, "SADD", keys.RQ_WORKERS, key)
    for queue in identity.queues:
        await urgent_command(link, "SADD", keys.RQ_WORKERS_OF + queue, key)
    await urgent_command(link, "SADD", keys.BACKENDS, *identity.backends)
    await urgent_command(link, "SADD", keys.RQ_QUEUES, *(keys.RQ_QUEUE + queue for queue in identity.queues))


async def report_shortage(link: RedisConnection, identity: WorkerIdentity, shortage: str) -> None:
    """What the process of this worker lacks, for `openfall status`; empty: nothing."""
    await urgent_command(link, "HSET", keys.RQ_WORKER + identity.name, keys.SHORTAGE_FIELD, shortage)


async def unregister(link: RedisConnection, identity: WorkerIdentity) -> None:
    """Leave rq's worker list, at a clean stop."""
    key = keys.RQ_WORKER + identity.name
    await link.command("SREM", keys.RQ_WORKERS, key)
    for queue in identity.queues:
        await link.command("SREM", keys.RQ_WORKERS_OF + queue, key)
    await urgent_command(link, "HSET", key, "death", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    await link.command("EXPIRE", key, 60)
    await link.command("ZREM", keys.PRESENCE, identity.name)


async def report_quiet(link: RedisConnection, identity: WorkerIdentity, quiet: bool) -> None:
    """Whether this worker claims no jobs because an operator wants it so."""
    await urgent_command(link, "HSET", keys.RQ_WORKER + identity.name, keys.QUIET_FIELD, "1" if quiet else "")
