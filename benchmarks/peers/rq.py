"""rq, both ways people run it: the stock worker, which forks for each job, and a pool of eight that do not."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import redis
from rq import Queue
from rq.job import Job

from benchmarks.peers.calls import complete_blocking
from benchmarks.peers.command_line import PeerDriver, main
from benchmarks.peers.parameters import Order, Parameters

KEEP = 3600
"""Seconds a result is kept."""

POOL = 8
"""Processes of the pool: one job each at a time."""


def answer(body: dict[str, Any]) -> dict[str, Any]:
    return complete_blocking(body)


class RqProducer:
    def __init__(self, parameters: Parameters) -> None:
        self.redis = redis.Redis.from_url(parameters.redis)
        self.queue = Queue("bench", connection=self.redis)

    async def put(self, order: Order) -> None:
        self.queue.enqueue("benchmarks.peers.rq.answer", order.body, result_ttl=KEEP, description="answer")

    async def put_many(self, orders: Sequence[Order]) -> None:
        prepare = Queue.prepare_data
        self.queue.enqueue_many(
            [
                prepare("benchmarks.peers.rq.answer", (order.body,), result_ttl=KEEP, description="answer")
                for order in orders
            ]
        )

    async def stored(self) -> int:
        ids = [entry.decode() for entry in self.redis.zrange("rq:finished:bench", 0, -1)]
        return sum(1 for job in Job.fetch_many(ids, self.redis) if job is not None and job.latest_result() is not None)

    async def close(self) -> None:
        self.redis.close()


async def open_producer(parameters: Parameters) -> RqProducer:
    return RqProducer(parameters)


def work_forking(parameters: Parameters) -> None:
    _become("worker", "--quiet", "--url", parameters.redis, "bench")


def work_pool(parameters: Parameters) -> None:
    _become("worker-pool", "-q", "-n", str(POOL), "-w", "rq.worker.SimpleWorker", "--url", parameters.redis, "bench")


def _become(*arguments: str) -> None:
    program = "from rq.cli import main; main()"
    os.execv(sys.executable, [sys.executable, "-c", program, *arguments])


if __name__ == "__main__":
    main(PeerDriver(open_producer, work_pool))
