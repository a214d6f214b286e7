"""What a Response of the HTTP door repeats of its request, and the items of its input, for the Responses that continue
it. Both are kept as long as its result."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json, to_json

from openfall.router_core.state import keys
from openfall.router_core.state.redis_connection import RedisConnection


class StoredResponse(BaseModel):
    """The fixed part of a Response. `created_at`: epoch seconds. `echo`: the fields of its request."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    producer: str
    asked_for: str
    created_at: int
    echo: dict[str, Any]


async def store_response(
    link: RedisConnection, job_id: str, response: StoredResponse, items: list[Any], keep_seconds: float
) -> None:
    expiry = ("EX", max(1, int(keep_seconds)))
    await asyncio.gather(
        link.command("SET", keys.RESPONSE + job_id, response.model_dump_json(), *expiry),
        link.command("SET", keys.RESPONSE_INPUT + job_id, to_json(items), *expiry),
    )


async def fetch_input(link: RedisConnection, job_id: str) -> list[Any]:
    """The items of the input. Empty: there are none."""
    packed = await link.command("GET", keys.RESPONSE_INPUT + job_id)
    items = None if packed is None else from_json(packed)
    return items if isinstance(items, list) else []


async def fetch_response(link: RedisConnection, job_id: str) -> StoredResponse | None:
    """None: there is none, it was deleted, or it cannot be read."""
    packed = await link.command("GET", keys.RESPONSE + job_id)
    try:
        return None if packed is None else StoredResponse.model_validate_json(packed)
    except ValidationError:
        return None


async def delete_response(link: RedisConnection, job_id: str) -> bool:
    """False: there was none."""
    return bool(await link.command("DEL", keys.RESPONSE + job_id, keys.RESPONSE_INPUT + job_id))
