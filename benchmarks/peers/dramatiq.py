"""dramatiq: one process with a thread for each slot, results in Redis, urllib3's pool."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AgeLimit, Callbacks, Middleware, Retries, ShutdownNotifications, TimeLimit
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.peers.calls import complete_blocking
from benchmarks.peers.command_line import PeerDriver, main
from benchmarks.peers.parameters import READY, Order, Parameters, read_parameters

KEEP = 3_600_000
"""Milliseconds a result is kept."""

parameters = read_parameters()
client = redis.Redis.from_url(parameters.redis, max_connections=4 * parameters.slots)  # redis-py stops at 100 by itself


class Announce(Middleware):
    """Reports that the worker's threads run."""

    def after_worker_boot(self, broker: Any, worker: Any) -> None:
        client.incr(READY)


broker = RedisBroker(
    client=client,
    middleware=[AgeLimit(), TimeLimit(), ShutdownNotifications(), Callbacks(), Retries(max_retries=0), Announce()],
)
broker.add_middleware(Results(backend=RedisBackend(client=client), store_results=True, result_ttl=KEEP))
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="bench")
def answer(body: dict[str, Any]) -> dict[str, Any]:
    return complete_blocking(body)


class DramatiqProducer:
    async def put(self, order: Order) -> None:
        answer.send(order.body)

    async def put_many(self, orders: Sequence[Order]) -> None:
        for order in orders:
            answer.send(order.body)

    async def stored(self) -> int:
        lists = client.scan_iter(count=1000, _type="list")  # a result's key is a bare digest
        return sum(1 for key in lists if not key.startswith(b"dramatiq:"))

    async def close(self) -> None:
        broker.close()


async def open_producer(_terms: Parameters) -> DramatiqProducer:
    return DramatiqProducer()


def work(_terms: Parameters) -> None:
    options = ["--processes", "1", "--threads", str(parameters.slots)]
    os.execv(sys.executable, [sys.executable, "-m", "dramatiq", "benchmarks.peers.dramatiq", *options])


if __name__ == "__main__":
    # The actor must carry the name by which the worker imports it, not that of this command line.
    from benchmarks.peers import dramatiq as driver

    main(PeerDriver(driver.open_producer, driver.work))
