"""taskiq on a Redis stream with acknowledgement: one process, jobs on its event loop, uvloop, aiohttp and orjson."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from taskiq import AsyncBroker, TaskiqEvents, TaskiqState
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.peers.calls import complete, open_session
from benchmarks.peers.command_line import PeerDriver, main
from benchmarks.peers.parameters import READY, Order, Parameters, read_parameters

KEEP = 3600
"""Seconds a result is kept."""


def _broker(parameters: Parameters) -> AsyncBroker:
    results: RedisAsyncResultBackend[Any] = RedisAsyncResultBackend(
        parameters.redis, result_ex_time=KEEP, serializer=ORJSONSerializer(), max_connection_pool_size=parameters.slots
    )
    broker = RedisStreamBroker(parameters.redis, consumer_id="0", max_connection_pool_size=parameters.slots)
    return broker.with_result_backend(results).with_serializer(ORJSONSerializer())


parameters = read_parameters()
broker = _broker(parameters)
kept: dict[str, Any] = {}


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def startup(_state: TaskiqState) -> None:
    kept["session"] = open_session(parameters)
    async with Redis.from_url(parameters.redis) as redis:
        await redis.incr(READY)


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def shutdown(_state: TaskiqState) -> None:
    await kept["session"].close()


@broker.task(task_name="answer")
async def answer(body: dict[str, Any]) -> dict[str, Any]:
    return await complete(kept["session"], parameters.calls, body)


class TaskiqProducer:
    async def put(self, order: Order) -> None:
        await answer.kiq(order.body)

    async def put_many(self, orders: Sequence[Order]) -> None:
        await asyncio.gather(*map(self.put, orders))

    async def stored(self) -> int:
        async with Redis.from_url(parameters.redis) as redis:
            return sum([1 async for _ in redis.scan_iter(_type="string", count=1000)]) - await redis.exists(READY)

    async def close(self) -> None:
        await broker.shutdown()


async def open_producer(_terms: Parameters) -> TaskiqProducer:
    logging.disable(logging.INFO)
    await broker.startup()
    return TaskiqProducer()


def work(_terms: Parameters) -> None:
    options = ["--workers", "1", "--max-async-tasks", str(parameters.slots), "--no-parse", "--log-level", "WARNING"]
    place = "benchmarks.peers.taskiq:broker"
    os.execv(sys.executable, [sys.executable, "-m", "taskiq", "worker", place, *options])


if __name__ == "__main__":
    main(PeerDriver(open_producer, work))
