"""What a peer can be told on its command line: work, fill, pace, stored. Answers are one line of JSON on stdout."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.terms import Order, Producer, Terms, told

BATCH = 100
"""Jobs in one call of `put_many`: larger batches gain nothing."""


@dataclass(frozen=True)
class Trade:
    """What a peer's file offers: how to put jobs in, and how to work on them (it does not return)."""

    open_producer: Callable[[Terms], Awaitable[Producer]]
    work: Callable[[Terms], None]


def main(trade: Trade) -> None:
    """Run the verb of the command line."""
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("work")
    verbs.add_parser("stored")
    fill = verbs.add_parser("fill")
    fill.add_argument("--single", action="store_true")
    fill.add_argument("--from", dest="first", type=int, default=0)
    pace = verbs.add_parser("pace")
    pace.add_argument("--rate", type=float, required=True)
    asked = parser.parse_args()
    terms = told()
    if asked.verb == "work":
        trade.work(terms)
        return
    answer = asyncio.run(_ask(trade, terms, asked))
    sys.stdout.write(json.dumps(answer) + "\n")


async def _ask(trade: Trade, terms: Terms, asked: argparse.Namespace) -> dict[str, Any]:
    producer = await trade.open_producer(terms)
    try:
        if asked.verb == "stored":
            return {"stored": await producer.stored()}
        if asked.verb == "pace":
            return await _pace(producer, terms, asked.rate)
        return await _fill(producer, terms, asked)
    finally:
        await producer.close()


async def _fill(producer: Producer, terms: Terms, asked: argparse.Namespace) -> dict[str, Any]:
    """Put all jobs in as fast as it goes, from this one client."""
    orders = [Order(f"job-{at}", at % terms.lanes) for at in range(asked.first, asked.first + terms.count)]
    began, cpu = time.monotonic(), time.process_time()
    if asked.single:
        for order in orders:
            await producer.put(order)
    else:
        for at in range(0, len(orders), BATCH):
            await producer.put_many(orders[at : at + BATCH])
    return {"jobs": len(orders), "seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - cpu}


async def _pace(producer: Producer, terms: Terms, rate: float) -> dict[str, Any]:
    """Put jobs in evenly, `rate` a second, and tell when each was handed over: just before `put` was called.

    A submit that is late keeps its own moment: what is measured begins when the caller asks.
    """
    began = time.monotonic() + 0.05
    moments: dict[str, float] = {}
    puts = set()
    for at in range(terms.count):
        await asyncio.sleep(max(0.0, began + at / rate - time.monotonic()))
        order = Order(f"job-{at}", at % terms.lanes)
        moments[order.marker] = time.monotonic()
        puts.add(asyncio.ensure_future(producer.put(order)))
    await asyncio.gather(*puts)
    return {"began": began, "submitted": moments}
