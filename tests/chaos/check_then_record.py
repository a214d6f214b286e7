"""Budgets as most gateways keep them, for comparison: the spent sum is read before a call and added to after it.

`python -m tests.chaos.check_then_record REDIS UPSTREAM WORKERS SLOTS LIMIT` forks workers that take jobs from the list
`jobs`, until it is empty: their bodies, as JSON.
"""

from __future__ import annotations

import asyncio
import os
import sys

import aiohttp
import orjson
import uvloop
from redis.asyncio import Redis

from tests.chaos.billing_upstream import INPUT_NUSD, OUTPUT_NUSD


async def work(redis_url: str, upstream: str, slots: int, limit: int) -> None:
    """One worker: `slots` calls at once."""
    async with Redis.from_url(redis_url) as store, aiohttp.ClientSession() as session:

        async def take_jobs() -> None:
            while (body := await store.lpop("jobs")) is not None:
                if int(await store.get("spent") or 0) >= limit:
                    await store.incr("refused")
                    continue
                try:
                    async with session.post(f"{upstream}/v1/chat/completions", data=body, headers=JSON) as reply:
                        usage = orjson.loads(await reply.read())["usage"]
                except (aiohttp.ClientError, ValueError):
                    continue
                cost = usage["prompt_tokens"] * INPUT_NUSD + usage["completion_tokens"] * OUTPUT_NUSD
                await store.incrby("spent", cost)

        await asyncio.gather(*(take_jobs() for _ in range(slots)))


JSON = {"Content-Type": "application/json"}


def main(redis_url: str, upstream: str, workers: str, slots: str, limit: str) -> None:
    """Fork the workers and wait for them."""
    children = []
    for _ in range(int(workers)):
        pid = os.fork()
        if not pid:
            status = 1
            try:
                uvloop.run(work(redis_url, upstream, int(slots), int(limit)))
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    failed = [pid for pid in children if os.waitpid(pid, 0)[1]]
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
