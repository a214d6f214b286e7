"""The commands of a peer: work, fill, pace, stored. The answer is one line of JSON on stdout."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.parameters import Order, Parameters, Producer, read_parameters

BATCH = 100
"""Jobs in one call of `put_many`: larger batches gain nothing."""


@dataclass(frozen=True)
class PeerDriver:
    """What a peer's file offers: how to submit jobs, and how to work on them (it does not return)."""

    open_producer: Callable[[Parameters], Awaitable[Producer]]
    work: Callable[[Parameters], None]


def main(driver: PeerDriver) -> None:
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
    options = parser.parse_args()
    parameters = read_parameters()
    if options.verb == "work":
        driver.work(parameters)
        return
    answer = asyncio.run(_run_command(driver, parameters, options))
    sys.stdout.write(json.dumps(answer) + "\n")


async def _run_command(driver: PeerDriver, parameters: Parameters, options: argparse.Namespace) -> dict[str, Any]:
    producer = await driver.open_producer(parameters)
    try:
        if options.verb == "stored":
            return {"stored": await producer.stored()}
        if options.verb == "pace":
            return await _pace(producer, parameters, options.rate)
        return await _fill(producer, parameters, options)
    finally:
        await producer.close()


async def _fill(producer: Producer, parameters: Parameters, options: argparse.Namespace) -> dict[str, Any]:
    """Submit all jobs as fast as possible, from this one client."""
    orders = [
        Order(f"job-{at}", at % parameters.lanes) for at in range(options.first, options.first + parameters.count)
    ]
    began, cpu = time.monotonic(), time.process_time()
    if options.single:
        for order in orders:
            await producer.put(order)
    else:
        for at in range(0, len(orders), BATCH):
            await producer.put_many(orders[at : at + BATCH])
    return {"jobs": len(orders), "seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - cpu}


async def _pace(producer: Producer, parameters: Parameters, rate: float) -> dict[str, Any]:
    """Submit jobs evenly, `rate` a second; returns when each was submitted: the moment just before `put`.

    A submit that is late keeps its own moment: the measurement begins when the caller submits.
    """
    began = time.monotonic() + 0.05
    moments: dict[str, float] = {}
    puts = set()
    for at in range(parameters.count):
        await asyncio.sleep(max(0.0, began + at / rate - time.monotonic()))
        order = Order(f"job-{at}", at % parameters.lanes)
        moments[order.marker] = time.monotonic()
        puts.add(asyncio.ensure_future(producer.put(order)))
    await asyncio.gather(*puts)
    return {"began": began, "submitted": moments}
