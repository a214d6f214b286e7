"""No queue at all: the HTTP client on its own, with every slot busy. What is left for a queue to lose."""

from __future__ import annotations

from collections.abc import Sequence

import uvloop
from redis.asyncio import Redis

from benchmarks.peers.calls import complete, drive, open_session
from benchmarks.peers.command_line import PeerDriver, main
from benchmarks.peers.parameters import READY, Order, Parameters


class NoQueue:
    """Takes jobs nowhere: the worker knows how many calls to make."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters

    async def put(self, order: Order) -> None:
        pass

    async def put_many(self, orders: Sequence[Order]) -> None:
        pass

    async def stored(self) -> int:
        return self.parameters.count

    async def close(self) -> None:
        pass


async def open_producer(parameters: Parameters) -> NoQueue:
    return NoQueue(parameters)


def work(parameters: Parameters) -> None:
    uvloop.run(_work(parameters))


async def _work(parameters: Parameters) -> None:
    await announce(parameters)
    async with open_session(parameters) as session:

        async def call(at: int) -> None:
            await complete(session, parameters.calls, Order(f"job-{at}").body)

        await drive(parameters, call)


async def announce(parameters: Parameters) -> None:
    """Report that the calls begin."""
    async with Redis.from_url(parameters.redis) as redis:
        await redis.incr(READY)


if __name__ == "__main__":
    main(PeerDriver(open_producer, work))
