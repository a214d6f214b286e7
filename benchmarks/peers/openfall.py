"""openfall: one worker process for the pool `gpu`, jobs submitted by its Python client.

Lanes are queues: four models times three urgencies, all of them watched by the one worker.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import redis.asyncio
import yaml

from benchmarks.peers.command_line import PeerDriver, main
from benchmarks.peers.parameters import Order, Parameters
from openfall.producers.client import AsyncOpenfall
from openfall.producers.job_request import JobRequest, SubmitOptions

MODELS = ("coder", "writer", "critic", "scout")
URGENCIES = ("interactive", "background", "batch")
POOL = "gpu"


def write_config(parameters: Parameters) -> Path:
    """The configuration of the run: one backend that has all slots, and four models at it."""
    place = parameters.directory / "openfall.yaml"
    config = {
        "redis": parameters.redis,
        "data": str(parameters.directory / "data"),
        "backends": {
            # Its peers keep their connections too; by itself openfall does not keep those to this machine.
            "mock": {
                "url": f"{parameters.upstream}/v1",
                "pool": POOL,
                "slots": parameters.slots,
                "reuse_connections": True,
            }
        },
        "models": {model: {"upstream": "mock", "backends": ["mock"]} for model in MODELS},
        "roles": {"bench": {"chain": list(MODELS[:1])}},
    }
    place.write_text(yaml.safe_dump(config))
    return place


class OpenfallProducer:
    def __init__(self, parameters: Parameters) -> None:
        self.client = AsyncOpenfall(redis_url=parameters.redis, config=write_config(parameters))
        self.redis = redis.asyncio.Redis.from_url(parameters.redis)

    async def put(self, order: Order) -> None:
        await self.client.submit(order.body, **_target(order.lane))

    async def put_many(self, orders: Sequence[Order]) -> None:
        for lane in {order.lane for order in orders}:
            bodies = [order.body for order in orders if order.lane == lane]
            answers = await self.client.submit_many([JobRequest(body, _target(lane)) for body in bodies])
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer

    async def stored(self) -> int:
        queues = [f"{POOL}.{model}.{urgency}" for model in MODELS for urgency in URGENCIES]
        return sum([await self.redis.zcard(f"rq:finished:{queue}") for queue in queues])

    async def close(self) -> None:
        await self.client.close()
        await self.redis.aclose()


def _target(lane: int) -> SubmitOptions:
    """The queue of a lane. Lane 0, which throughput uses alone, is background: the default of a role without one."""
    urgency, model = divmod(lane, len(MODELS))
    return {"model": MODELS[model], "urgency": URGENCIES[(urgency + 1) % len(URGENCIES)]}


async def open_producer(parameters: Parameters) -> OpenfallProducer:
    return OpenfallProducer(parameters)


def work(parameters: Parameters) -> None:
    config = str(write_config(parameters))
    options = ["--config", config, "--slots", str(parameters.slots)]
    os.execv(sys.executable, [sys.executable, "-m", "openfall.workers", "work", POOL, *options])


if __name__ == "__main__":
    main(PeerDriver(open_producer, work))
