"""The commands to a worker: those of rq's tools, and those of openfall. They are sent on rq's channel of the worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from pydantic_core import from_json, to_json
from redis import exceptions as redis_errors

from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.state import keys
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.redis_error_remedies import translate
from openfall.router_core.state.redis_pool import open_redis

READ_TIMEOUT_SECONDS = 1.0


async def send_command(link: RedisConnection, worker: str, command: str) -> bool:
    """Send a command to a worker. False: it does not listen, so it is gone."""
    return bool(await link.command("PUBLISH", keys.RQ_PUBSUB + worker, to_json({"command": command})))


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """A command of rq (`shutdown`, `stop-job`, `kill-horse`), `stream-job` (a caller follows a job in flight),
    `abandon-job` (its call is put back), `quiet` (it claims no more jobs) or `resume` (it claims jobs again)."""

    name: str
    job_id: str
    ended: bool = False
    """The job has its result already (it was cancelled): only the call must stop."""


async def listen_commands(server: RedisServer | str, place: str, worker: str) -> AsyncIterator[WorkerCommand]:
    """The commands of rq's tools for this worker. Raises a `StoreError` when the connection breaks: call it again."""
    redis = open_redis(server, block=READ_TIMEOUT_SECONDS)
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
