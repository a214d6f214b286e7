"""Registers a worker with rq, receives the commands of rq's tools, and waits for work."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from pydantic_core import from_json, to_json
from redis import exceptions as redis_errors

from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.state import keys
from openfall.router_core.state.beats_and_leases import RQ_WORKER_TTL_SECONDS
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.redis_error_remedies import translate
from openfall.router_core.state.redis_pool import open_redis
from openfall.router_core.state.urgent_write import urgent_command
from openfall.router_core.state.worker_subscription import WorkerIdentity

MAX_WAIT_SECONDS = 1.0
"""Seconds after which a waiting worker claims anyway: plain rq wakes no worker of ours."""


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
        "version": version("rq"),
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


class WakeUp:
    """Waits until one of its queues has a new job. One entry wakes one worker; waiting takes no job."""

    def __init__(self, server: RedisServer | str, queues: Sequence[str]) -> None:
        self._link = RedisConnection(server)  # its own: a blocked connection can send nothing else
        self._keys = [keys.WAKEUP + queue for queue in queues]
        self._woken_by: bytes | None = None

    async def wait(self, timeout_seconds: float = MAX_WAIT_SECONDS) -> bool:
        """True: there is a new job. False: the timeout is over. Raises a `StoreError` when Redis is away."""
        reply = await self._link.command("BLPOP", *self._keys, max(0.01, min(timeout_seconds, MAX_WAIT_SECONDS)))
        self._woken_by = reply[0] if reply else None
        return reply is not None

    async def forward(self) -> None:
        """Wake another worker: this one has no free slot."""
        if self._woken_by is not None:
            await self._link.command("RPUSH", self._woken_by, "1")

    async def close(self) -> None:
        await self._link.close()


async def report_quiet(link: RedisConnection, identity: WorkerIdentity, quiet: bool) -> None:
    """Whether this worker claims no jobs because an operator wants it so."""
    await urgent_command(link, "HSET", keys.RQ_WORKER + identity.name, keys.QUIET_FIELD, "1" if quiet else "")


async def send_command(link: RedisConnection, worker: str, command: str) -> bool:
    """Send a command to a worker. False: it does not listen, so it is gone."""
    return bool(await link.command("PUBLISH", keys.RQ_PUBSUB + worker, to_json({"command": command})))


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """A command of rq (`shutdown`, `stop-job`, `kill-horse`), `stream-job`: somebody follows a job in flight,
    `abandon-job`: its call is put back, or `quiet` and `resume`: it claims no more jobs, or does again."""

    name: str
    job_id: str
    ended: bool = False
    """The job has its result already (it was cancelled): only the call must stop."""


async def listen_commands(server: RedisServer | str, place: str, worker: str) -> AsyncIterator[WorkerCommand]:
    """The commands of rq's tools for this worker. Raises a `StoreError` when the connection breaks: call it again."""
    redis = open_redis(server, block=MAX_WAIT_SECONDS)
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    try:
        await pubsub.subscribe(keys.RQ_PUBSUB + worker)
        while True:
            message = await pubsub.get_message(timeout=30)
            if message is not None and (command := _parse_command(message["data"])):
                yield command
    except (redis_errors.RedisError, OSError) as error:
        raise translate(error, place) from error
    finally:
        await pubsub.aclose()  # type: ignore[no-untyped-call]
        await redis.aclose()


def _parse_command(data: bytes) -> WorkerCommand | None:
    try:
        command = from_json(data)
    except ValueError:
        return None
    if not isinstance(command, dict) or not isinstance(command.get("command"), str):
        return None
    return WorkerCommand(command["command"], str(command.get("job_id", "")), bool(command.get("ended")))
