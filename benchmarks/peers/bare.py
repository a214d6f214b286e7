"""No queue at all: the HTTP client on its own, with every slot busy. What is left for a queue to lose."""

from __future__ import annotations

from collections.abc import Sequence

import uvloop
from redis.asyncio import Redis

from benchmarks.peers.calls import complete, drive, open_session
from benchmarks.peers.terms import READY, Order, Terms
from benchmarks.peers.verbs import Trade, main


class NoQueue:
    """Takes jobs nowhere: the worker knows how many calls to make."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms

    async def put(self, order: Order) -> None:
        pass

    async def put_many(self, orders: Sequence[Order]) -> None:
        pass

    async def stored(self) -> int:
        return self.terms.count

    async def close(self) -> None:
        pass


async def open_producer(terms: Terms) -> NoQueue:
    return NoQueue(terms)


def work(terms: Terms) -> None:
    uvloop.run(_work(terms))


async def _work(terms: Terms) -> None:
    await announce(terms)
    async with open_session(terms) as session:

        async def call(at: int) -> None:
            await complete(session, terms.calls, Order(f"job-{at}").body)

        await drive(terms, call)


async def announce(terms: Terms) -> None:
    """Tell that the calls begin."""
    async with Redis.from_url(terms.redis) as redis:
        await redis.incr(READY)


if __name__ == "__main__":
    main(Trade(open_producer, work))
