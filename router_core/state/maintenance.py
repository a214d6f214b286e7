"""What any worker does for the whole fleet: take over from the dead, look after what nobody claims, move what waits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from openfall.router_core.deciding.decide import Fall, Handoff, Later
from openfall.router_core.state.keys import model_of
from openfall.router_core.state.redis_connection import RedisConnection

MAX_CRASHES = 3
"""Crashes after which a job falls as poisoned."""
BATCH_SIZE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingJob:
    """A job that waits, and the `cause` for which it is examined.

    overdue: past its deadline; late: past its `start_within`; stranded: nobody can claim from its queue now; cancelled
    or deleted: with rq's own tools. `head` is its envelope without the body, `answers` those kept with it. Moments in
    epoch seconds.
    """

    id: str
    deliveries: int
    cause: str
    attempts: bytes
    deadline: float
    accepted_at: float
    queue: str
    head: bytes
    answers: tuple[bytes, ...]
    stand_in: str = ""
    """The model outside its chain that it was handed to; empty: none."""

    @property
    def model(self) -> str:
        """The model of its queue; empty in `degrade`."""
        return model_of(self.queue)


async def reap(link: RedisConnection) -> list[tuple[str, str, str]]:
    """Take over what dead workers held: (job id, queue, what came of it)."""
    reply = await link.script("reap", 256, MAX_CRASHES)
    return [(row[0].decode(), row[1].decode(), row[2].decode()) for row in reply[1:]]


async def sweep(link: RedisConnection, stranded: Iterable[str] = (), *, clean: bool) -> tuple[float, list[WaitingJob]]:
    """Find what waits in vain, also in the `stranded` queues; and the server's clock.

    `clean` also forgets what rq's registries keep past its time.
    """
    reply = await link.script("sweep", BATCH_SIZE, int(clean), *stranded)
    return int(reply[0]) / 1000, [_waiting_job(row) for row in reply[1:]]


async def move(link: RedisConnection, found: WaitingJob, step: Handoff | Later | Fall, to_queue: str = "") -> bool:
    """Put a job that waits elsewhere. False: it is not where it was seen any more."""
    match step:
        case Handoff(at_front=at_front):
            told: tuple[str | int, ...] = (step.why, "queue", to_queue, int(at_front))
        case Later(delay=delay):
            told = (step.why, "later", to_queue, int(delay * 1000))
        case Fall(reason=reason, detail=detail):
            told = (detail, "fall", reason, detail)
    reply = await link.script("move", found.id, found.deliveries, found.queue, *told)
    return bool(reply[0] == b"moved")


def _waiting_job(row: list[Any]) -> WaitingJob:
    return WaitingJob(
        id=row[0].decode(),
        deliveries=int(row[1]),
        cause=row[2].decode(),
        attempts=row[3],
        deadline=int(row[4]) / 1000,
        accepted_at=int(row[5]) / 1000,
        queue=row[6].decode(),
        head=row[7],
        answers=tuple(row[8]),
        stand_in=row[9].decode(),
    )
