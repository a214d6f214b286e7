"""How a worker shows itself to rq and its tools, hears their commands, and waits for work."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from pydantic_core import from_json
from redis import exceptions as redis_errors

from openfall.router_core.state import keys
from openfall.router_core.state.errors import translate
from openfall.router_core.state.redis_connection import RedisConnection, open_redis
from openfall.router_core.state.subscription import WorkerIdentity
from openfall.router_core.state.worker_queue import RQ_WORKER_TTL_SECONDS

MAX_WAIT_SECONDS = 1.0
"""Seconds after which a waiting worker looks by itself: plain rq rings no bell of ours."""


async def register(link: RedisConnection, who: WorkerIdentity) -> None:
    """Appear in rq's worker list as an idle worker, and name the backends whose leases others must look after."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    fields = {
        "birth": now,
        "last_heartbeat": now,
        "queues": ",".join(who.queues),
        "pid": os.getpid(),
        "hostname": socket.gethostname(),
        "ip_address": "",
        "version": version("rq"),
        "python_version": platform.python_version(),
        "state": "idle",
    }
    key = keys.RQ_WORKER + who.name
    await link.command("HSET", key, *(part for pair in fields.items() for part in pair))
    await link.command("EXPIRE", key, RQ_WORKER_TTL_SECONDS)
    await link.command("SADD", keys.RQ_WORKERS, key)
    for queue in who.queues:
        await link.command("SADD", keys.RQ_WORKERS_OF + queue, key)
    await link.command("SADD", keys.BACKENDS, *who.backends)
    await link.command("SADD", keys.RQ_QUEUES, *(keys.RQ_QUEUE + queue for queue in who.queues))


async def unregister(link: RedisConnection, who: WorkerIdentity) -> None:
    """Leave rq's worker list, as a worker does that stops in good order."""
    key = keys.RQ_WORKER + who.name
    await link.command("SREM", keys.RQ_WORKERS, key)
    for queue in who.queues:
        await link.command("SREM", keys.RQ_WORKERS_OF + queue, key)
    await link.command("HSET", key, "death", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    await link.command("EXPIRE", key, 60)
    await link.command("ZREM", keys.PRESENCE, who.name)


class WakeUp:
    """Waits until one of its queues has something new. One ring wakes one worker; waiting takes nothing."""

    def __init__(self, url: str, queues: Sequence[str]) -> None:
        self._link = RedisConnection(url)  # of its own: a blocked connection carries nothing else
        self._bells = [keys.WAKEUP + queue for queue in queues]
        self._rang: bytes | None = None

    async def wait(self, most: float = MAX_WAIT_SECONDS) -> bool:
        """True when it rang, False after `most` seconds; a `StoreError` when Redis is away."""
        rang = await self._link.command("BLPOP", *self._bells, max(0.01, min(most, MAX_WAIT_SECONDS)))
        self._rang = rang[0] if rang else None
        return rang is not None

    async def forward(self) -> None:
        """Ring again what rang: this worker has no slot left, another may."""
        if self._rang is not None:
            await self._link.command("RPUSH", self._rang, "1")

    async def close(self) -> None:
        await self._link.close()


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """A command of rq's: `shutdown`, `stop-job` or `kill-horse`."""

    name: str
    job_id: str
    ended: bool = False
    """The job has its result already (it was cancelled): only the call is to be stopped."""


async def listen_commands(url: str, place: str, worker: str) -> AsyncIterator[WorkerCommand]:
    """What rq's tools tell this worker. Ends with a `StoreError` when the connection breaks: call it again."""
    redis = open_redis(url, block=MAX_WAIT_SECONDS)
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    try:
        await pubsub.subscribe(keys.RQ_PUBSUB + worker)
        while True:
            message = await pubsub.get_message(timeout=30)
            if message is not None and (command := _command(message["data"])):
                yield command
    except (redis_errors.RedisError, OSError) as error:
        raise translate(error, place) from error
    finally:
        await pubsub.aclose()  # type: ignore[no-untyped-call]
        await redis.aclose()


def _command(data: bytes) -> WorkerCommand | None:
    try:
        told = from_json(data)
    except ValueError:
        return None
    if not isinstance(told, dict) or not isinstance(told.get("command"), str):
        return None
    return WorkerCommand(told["command"], str(told.get("job_id", "")), bool(told.get("ended")))
