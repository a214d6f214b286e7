"""openfall: one worker process for the pool `gpu`, jobs put in by its Python client.

Lanes are queues: four models times three urgencies, all of them watched by the one worker.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import redis.asyncio
import yaml

from benchmarks.peers.terms import Order, Terms
from benchmarks.peers.verbs import Trade, main
from openfall.producers.client import AsyncOpenfall
from openfall.producers.request import JobRequest, SubmitOptions

MODELS = ("coder", "writer", "critic", "scout")
URGENCIES = ("interactive", "background", "batch")
POOL = "gpu"


def write_config(terms: Terms) -> Path:
    """The configuration of the run: one backend that has all slots, and four models at it."""
    place = terms.directory / "openfall.yaml"
    told = {
        "redis": terms.redis,
        "data": str(terms.directory / "data"),
        "backends": {
            # Its peers keep their connections too; by itself openfall does not keep those to this machine.
            "mock": {"url": f"{terms.upstream}/v1", "pool": POOL, "slots": terms.slots, "keep_alive": True}
        },
        "models": {model: {"upstream": "mock", "backends": ["mock"]} for model in MODELS},
        "roles": {"bench": {"chain": list(MODELS[:1])}},
    }
    place.write_text(yaml.safe_dump(told))
    return place


class OpenfallProducer:
    def __init__(self, terms: Terms) -> None:
        self.client = AsyncOpenfall(redis_url=terms.redis, config=write_config(terms))
        self.redis = redis.asyncio.Redis.from_url(terms.redis)

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


async def open_producer(terms: Terms) -> OpenfallProducer:
    return OpenfallProducer(terms)


def work(terms: Terms) -> None:
    config = str(write_config(terms))
    options = ["--config", config, "--slots", str(terms.slots)]
    os.execv(sys.executable, [sys.executable, "-m", "openfall.workers", "work", POOL, *options])


if __name__ == "__main__":
    main(Trade(open_producer, work))
