"""What nothing could serve: the held jobs, why each is held, what may release it. Put back, or dropped, by people."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from openfall.router_core.degrading.policy import HoldReason
from openfall.router_core.jobs.job import Urgency
from openfall.router_core.jobs.outcome import ErrorClass
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state import keys
from openfall.router_core.state.errors import UnknownJob
from openfall.router_core.state.jobs import end
from openfall.router_core.state.redis_connection import RedisConnection

AT_ONCE = 256
"""Jobs asked after in one batch: Redis serves others between two."""
MOST_COUNTED = 2000
"""Held jobs that are looked at to tell what they are held for."""

_FIELDS = ("held_for", "held_why", "held_at", "deadline", "fell_from", "queue", "held_by", "ready_at", "deliveries")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldJob:
    """A job that nothing could serve. Moments are epoch seconds on the server's clock.

    `models` are those whose return releases it; without them it waits for a person. `ready_at`: not before then; 0: at
    once. `queue` is where it fell from.
    """

    id: str
    role: str | None
    queue: str
    reason: HoldReason
    why: str
    since: float
    deadline: float
    models: tuple[str, ...]
    ready_at: float
    deliveries: int

    @property
    def urgency(self) -> Urgency:
        return Urgency(self.queue.rpartition(".")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFilter:
    """Which held jobs are meant. None: any. `since`: held at that moment (epoch seconds) or later."""

    role: str | None = None
    reason: HoldReason | None = None
    since: float | None = None

    def __contains__(self, job: HeldJob) -> bool:
        return (
            self.role in (None, job.role)
            and self.reason in (None, job.reason)
            and (self.since is None or job.since >= self.since)
        )


ANY = HeldFilter()


@dataclass(frozen=True, slots=True)
class HeldSummary:
    """What is held, summed up. `by_reason` and `models` (those that are waited for) are of the `looked_at` first."""

    total: int = 0
    looked_at: int = 0
    by_reason: Mapping[HoldReason, int] = field(default_factory=dict)
    models: tuple[str, ...] = ()


async def list_held(link: RedisConnection, wanted: HeldFilter = ANY) -> AsyncIterator[HeldJob]:
    """The held jobs that are wanted, longest held first. None that is held all the while is missed."""
    ids = await _ids(link)
    for first in range(0, len(ids), AT_ONCE):
        for job in await find_held(link, ids[first : first + AT_ONCE]):
            if job in wanted:
                yield job


async def _ids(link: RedisConnection) -> list[str]:
    """All of them, by when they were held. A scan misses none that stays; pages by rank would when others leave."""
    since: dict[str, float] = {}
    cursor = b"0"
    while True:
        cursor, rows = await link.command("ZSCAN", keys.RQ_DEFERRED + keys.DEGRADE, cursor, "COUNT", AT_ONCE)
        since.update({rows[i].decode(): float(rows[i + 1]) for i in range(0, len(rows), 2)})
        if int(cursor) == 0:
            return sorted(since, key=lambda id_: (since[id_], id_))


async def find_held(link: RedisConnection, ids: Sequence[str]) -> list[HeldJob]:
    """Those of the jobs that are held."""
    return [job for job in await asyncio.gather(*(_held(link, id_) for id_ in ids)) if job is not None]


async def _held(link: RedisConnection, job_id: str) -> HeldJob | None:
    row, label = await asyncio.gather(
        link.command("HMGET", keys.RECORD + job_id, *_FIELDS),
        link.command("HGET", keys.RQ_JOB + job_id, "description"),
    )
    if row[0] is None:
        return None
    told = dict(zip(_FIELDS, row, strict=True))
    role = (label or b"").decode().partition("/")[0]
    return HeldJob(
        id=job_id,
        role=role if role not in ("", "-") else None,
        queue=(told["fell_from"] or told["queue"]).decode(),
        reason=HoldReason(told["held_for"].decode()),
        why=(told["held_why"] or b"").decode(),
        since=int(told["held_at"]) / 1000,
        deadline=int(told["deadline"]) / 1000,
        models=tuple(filter(None, (told["held_by"] or b"").decode().split(","))),
        ready_at=int(told["ready_at"] or 0) / 1000,
        deliveries=int(told["deliveries"] or 0),
    )


async def held_summary(link: RedisConnection, most: int = MOST_COUNTED) -> HeldSummary:
    """What is held, for which reasons, and which models it waits for."""
    registry = keys.RQ_DEFERRED + keys.DEGRADE
    total, ids = await asyncio.gather(link.command("ZCARD", registry), link.command("ZRANGE", registry, 0, most - 1))
    jobs = await find_held(link, [id_.decode() for id_ in ids])
    models = Counter(model for job in jobs for model in job.models)
    return HeldSummary(
        total,
        len(jobs),
        dict(Counter(job.reason for job in jobs).most_common()),
        tuple(name for name, _ in models.most_common()),
    )


async def held_count(link: RedisConnection) -> int:
    """How many jobs are held."""
    return int(await link.command("ZCARD", keys.RQ_DEFERRED + keys.DEGRADE))


async def replay(link: RedisConnection, job_id: str) -> str:
    """Put a held job back into its queue. Returns the state it is in now; `UnknownJob`."""
    state = (await link.script("replay", job_id))[0].decode()
    if state == "gone":
        raise UnknownJob(job_id)
    return str(state)


async def drop(link: RedisConnection, job: HeldJob) -> bool:
    """End a held job as cancelled. False: it has gone on since it was seen."""
    why = "dropped by an operator"
    result = Result(id=job.id, status=Status.CANCELLED, error=ErrorClass.CANCELLED, detail=why)
    if not await find_held(link, [job.id]):
        return False
    return await end(link, result, rq_status="canceled", seen_deliveries=job.deliveries)
