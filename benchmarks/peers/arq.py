"""arq: one process, jobs on its event loop, uvloop and aiohttp. It polls: 10 ms here, where 500 ms is its default."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import uvloop
from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.constants import default_queue_name
from arq.worker import Worker, func

from benchmarks.peers.calls import complete, open_session
from benchmarks.peers.command_line import PeerDriver, main
from benchmarks.peers.parameters import READY, Order, Parameters

POLL = 0.01


class ArqProducer:
    def __init__(self, redis: ArqRedis) -> None:
        self.redis = redis

    async def put(self, order: Order) -> None:
        await self.redis.enqueue_job("answer", order.body)

    async def put_many(self, orders: Sequence[Order]) -> None:
        await asyncio.gather(*map(self.put, orders))

    async def stored(self) -> int:
        return sum([1 async for _ in self.redis.scan_iter("arq:result:*", count=1000)])

    async def close(self) -> None:
        await self.redis.aclose()


async def open_producer(parameters: Parameters) -> ArqProducer:
    return ArqProducer(
        await create_pool(RedisSettings.from_dsn(parameters.redis), default_queue_name=default_queue_name)
    )


async def _startup(context: dict[str, Any]) -> None:
    context["session"] = open_session(context["parameters"])
    await context["redis"].incr(READY)


async def _shutdown(context: dict[str, Any]) -> None:
    await context["session"].close()


async def _answer(context: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    return await complete(context["session"], context["parameters"].calls, body)


def work(parameters: Parameters) -> None:
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.set_event_loop(asyncio.new_event_loop())
    Worker(
        [func(_answer, name="answer", keep_result=3600)],
        redis_settings=RedisSettings.from_dsn(parameters.redis),
        on_startup=_startup,
        on_shutdown=_shutdown,
        max_jobs=parameters.slots,
        queue_read_limit=parameters.slots,
        poll_delay=POLL,
        ctx={"parameters": parameters},
    ).run()


if __name__ == "__main__":
    main(PeerDriver(open_producer, work))
