"""The jobs of a queue: how many wait and are started, and at which position one waits. `lua/lib/producer_turns.lua` has
the rule."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_number
from openfall.router_core.state.redis_connection import RedisConnection

MAX_SCANNED = 10_000
"""The most jobs of a list that are compared for a position."""
_UNSAFE = re.compile(rb"[^A-Za-z0-9@_.-]")


def backlog_list(queue: str, producer: bytes) -> bytes:
    """The list of a producer's jobs that wait for a turn in a queue: as `backlog_of` in producer_turns.lua names it."""
    name = _UNSAFE.sub(lambda match: b"=%02X" % match[0][0], producer)
    return f"{keys.RQ_QUEUE}{queue}{keys.BACKLOG_MARK}".encode() + name


async def count_waiting(link: RedisConnection, queue: str) -> int:
    """How many jobs wait in a queue, in its list and in backlogs. Only the list has jobs of plain rq."""
    listed, backlogged = await asyncio.gather(
        link.command("LLEN", keys.RQ_QUEUE + queue), link.command("HGET", keys.LISTED + queue, "")
    )
    with link.notes.reading(keys.LISTED + queue):
        return int(listed) + max(0, read_number(backlogged))


async def count_jobs(link: RedisConnection, queues: Sequence[str]) -> list[tuple[int, int]]:
    """For each queue how many jobs wait, and how many are started."""
    waiting, started = await asyncio.gather(
        asyncio.gather(*(count_waiting(link, queue) for queue in queues)),
        asyncio.gather(*(link.command("ZCARD", keys.RQ_WIP + queue) for queue in queues)),
    )
    return list(zip(waiting, started, strict=True))


async def fetch_position(link: RedisConnection, job_id: str, queue: str, producer: bytes) -> int | None:
    """The position of a job in the order of the claims, from 1. None: it is not among the first `MAX_SCANNED`.

    The producers of a queue take turns. So for a job in a backlog this is the latest position that it can have, as
    long as no other producer enters the queue.
    """
    listed, delayed, waiting, fields, backlogged = await asyncio.gather(
        link.command("LPOS", keys.RQ_QUEUE + queue, job_id, "MAXLEN", MAX_SCANNED),
        link.command("LPOS", backlog_list(queue, producer), job_id, "MAXLEN", MAX_SCANNED),
        count_waiting(link, queue),
        link.command("HLEN", keys.LISTED + queue),
        link.command("HEXISTS", keys.LISTED + queue, ""),
    )
    if listed is not None:
        return int(listed) + 1
    if delayed is None:
        return None
    return min(waiting, (int(delayed) + 2) * (int(fields) - int(backlogged)))
