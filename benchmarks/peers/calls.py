"""The HTTP call that a job is, by the fastest client each kind of worker can use, kept alive and never retried."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

from benchmarks.peers.parameters import Parameters, read_parameters

if TYPE_CHECKING:
    import aiohttp
    import urllib3

TIMEOUT = 60.0
"""Seconds one call may take."""


def open_session(parameters: Parameters) -> aiohttp.ClientSession:
    """aiohttp with a connection for each slot; for workers that run on an event loop."""
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=parameters.slots),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def complete(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> dict[str, Any]:
    """Request a completion on the event loop; returns the whole response body."""
    headers = {"Content-Type": "application/json"}
    async with session.post(url, data=orjson.dumps(body), headers=headers) as response:
        response.raise_for_status()
        answer: dict[str, Any] = orjson.loads(await response.read())
        return answer


@cache
def _pool() -> urllib3.PoolManager:
    import urllib3

    return urllib3.PoolManager(maxsize=read_parameters().slots, block=True, retries=False, timeout=TIMEOUT)


def complete_blocking(body: dict[str, Any]) -> dict[str, Any]:
    """Request a completion in a thread; urllib3's pool, which requests is built on."""
    headers = {"Content-Type": "application/json"}
    response = _pool().request("POST", read_parameters().calls, body=orjson.dumps(body), headers=headers)
    if response.status != 200:
        raise RuntimeError(f"the upstream answered {response.status}")
    answer: dict[str, Any] = orjson.loads(response.data)
    return answer


async def drive(parameters: Parameters, call: Any) -> None:
    """Make all calls of a run with every slot busy and no queue: the ceiling for a given client."""
    left = iter(range(parameters.count))

    async def slot() -> None:
        for at in left:
            await call(at)

    await asyncio.gather(*(slot() for _ in range(parameters.slots)))
