"""SAQ: one process, jobs on its event loop, uvloop, aiohttp and orjson."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import uvloop
from redis.asyncio import Redis
from saq import Worker
from saq.queue.redis import RedisQueue

from benchmarks.peers.calls import complete, open_session
from benchmarks.peers.command_line import PeerDriver, main
from benchmarks.peers.parameters import READY, Order, Parameters

KEEP = 3600
"""Seconds a result is kept."""


class SaqProducer:
    def __init__(self, queue: RedisQueue) -> None:
        self.queue = queue

    async def put(self, order: Order) -> None:
        await self.queue.enqueue("answer", body=order.body, ttl=KEEP, timeout=60, retries=1)

    async def put_many(self, orders: Sequence[Order]) -> None:
        await asyncio.gather(*map(self.put, orders))

    async def stored(self) -> int:
        stored = 0
        async for key in self.queue.redis.scan_iter(self.queue.job_id("*"), count=1000):
            row = await self.queue.redis.get(key)
            stored += bool(row) and orjson.loads(row)["status"] == "complete"
        return stored

    async def close(self) -> None:
        await self.queue.disconnect()


def _queue(parameters: Parameters) -> RedisQueue:
    # redis-py stops at 100 connections by itself; SAQ holds one for each waiting slot.
    redis = Redis.from_url(parameters.redis, max_connections=4 * parameters.slots)
    return RedisQueue(redis, dump=orjson.dumps, load=orjson.loads)


async def open_producer(parameters: Parameters) -> SaqProducer:
    queue = _queue(parameters)
    await queue.connect()
    return SaqProducer(queue)


async def answer(context: dict[str, Any], *, body: dict[str, Any]) -> dict[str, Any]:
    return await complete(context["session"], context["url"], body)


def work(parameters: Parameters) -> None:
    uvloop.run(_work(parameters))


async def _work(parameters: Parameters) -> None:
    queue = _queue(parameters)

    async def startup(context: dict[str, Any]) -> None:
        context["session"], context["url"] = open_session(parameters), parameters.calls
        await queue.redis.incr(READY)

    async def shutdown(context: dict[str, Any]) -> None:
        await context["session"].close()

    await queue.connect()
    await Worker(queue, [answer], concurrency=parameters.slots, startup=startup, shutdown=shutdown).start()


if __name__ == "__main__":
    main(PeerDriver(open_producer, work))
