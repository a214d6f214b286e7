"""What any worker does for the whole fleet: take over the jobs of dead workers, find jobs that wait in vain, move them,
and repair indexes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from openfall.router_core.deciding.crash_limits import CONDEMN_AFTER_ALONE, SUSPECT_AFTER
from openfall.router_core.deciding.steps import Fall, Handoff, Later
from openfall.router_core.state.beats_and_leases import FLEET_SILENCE
from openfall.router_core.state.caller_leases import RETURN_SECONDS
from openfall.router_core.state.decoding import read_moment, read_number, read_text
from openfall.router_core.state.delivery_counts import count_move
from openfall.router_core.state.keys import model_of
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.settlement import move_arguments
from openfall.router_core.state.unreadable_values import UnreadableValue, read_unreadable
from openfall.router_core.vocabulary import Urgency

WORKER_RETENTION_SECONDS = 600.0
"""How long the presence of a dead worker is kept."""
RECHECK_SECONDS = {Urgency.INTERACTIVE: 1.0, Urgency.BACKGROUND: 5.0, Urgency.BATCH: 10.0}
"""How long after a sweep a late job is examined again."""
MAX_HEAD_BYTES = 16384
"""No head of an envelope is longer."""
JOBS_PER_SWEEP = 100
LEFT_JOBS = 100
LEFT_JOBS_AGAIN_MS = 5000
AUDIT_INTERVAL_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingJob:
    """A waiting job, and the `cause` for which the sweep found it.

    overdue: past its deadline; late: past its `start_within`; stranded: no worker can claim from its queue now;
    cancelled or deleted: with rq's own tools. `head` is its envelope without the body; `answers` were kept with it.
    Times are epoch seconds."""

    id: str
    deliveries: int
    cause: str
    attempts: bytes
    deadline: float
    accepted_at: float
    queue: str
    head: bytes
    answers: tuple[bytes, ...]
    default_fallback: str = ""
    """The model outside its chain to which it was handed; empty: none."""
    replied: bool = False
    """Its caller has had a reply of Open Fall, or a result, before."""

    @property
    def model(self) -> str:
        """The model of its queue; empty for `degrade`."""
        return model_of(self.queue)


async def reap(link: RedisConnection) -> list[tuple[str, str, str]]:
    """Take over the jobs of dead workers: (job id, queue, `queued`, `suspect` or `fallen`)."""
    arguments = {
        "limit": 256,
        "suspect_after": SUSPECT_AFTER,
        "condemn_after_alone": CONDEMN_AFTER_ALONE,
        "worker_retention_ms": int(WORKER_RETENTION_SECONDS * 1000),
        "silence": FLEET_SILENCE,
    }
    reply = await link.script("reap", arguments)
    return [(read_text(row[0]), read_text(row[1]), read_text(row[2])) for row in reply[1:]]


async def abandoned_jobs(link: RedisConnection) -> list[str]:
    """Unfinished jobs whose callers have left for good. Each is offered again, in case its worker dies first."""
    arguments = {
        "limit": LEFT_JOBS,
        "again_ms": LEFT_JOBS_AGAIN_MS,
        "longest_ms": int(RETURN_SECONDS * 1000),
        "silence": FLEET_SILENCE,
    }
    return [read_text(job_id) for job_id in await link.script("abandoned_jobs", arguments)]


async def audit(link: RedisConnection) -> list[UnreadableValue]:
    """Examine a part of the records, and write again what is missing in an index. One worker does it for the fleet.

    Returns what could not be read since the last audit."""
    arguments = {
        "check_ms": int(AUDIT_INTERVAL_SECONDS * 800),
        "keys": 500,
        "keys_after_damage": 5000,
        "listed": 200,
        "silence": FLEET_SILENCE,
    }
    return read_unreadable(await link.script("audit", arguments))


async def sweep(
    link: RedisConnection, stranded: Iterable[str] = (), blocked: Iterable[str] = (), *, clean: bool
) -> tuple[float, list[WaitingJob]]:
    """Find jobs that wait in vain, also in the `stranded` and the `blocked` queues: the first `JOBS_PER_SWEEP` of each
    stranded queue, and in all blocked queues together `JOBS_PER_SWEEP`, others each second. Returns the server's clock
    and the jobs.

    `clean` also removes expired entries from rq's registries.
    """
    arguments = {
        "limit": JOBS_PER_SWEEP,
        "clean_registries": clean,
        "stranded_queues": list(stranded),
        "blocked_queues": list(blocked),
        "recheck_ms": {urgency: int(seconds * 1000) for urgency, seconds in RECHECK_SECONDS.items()},
        "head_bytes": MAX_HEAD_BYTES,
    }
    reply = await link.script("sweep", arguments)
    return int(reply[0]) / 1000, [_waiting_job(row) for row in reply[1:]]


async def move(
    link: RedisConnection, job: WaitingJob, step: Handoff | Later | Fall, to_queue: str = "",
    unmet: Sequence[str] = (),
) -> bool:  # fmt: skip
    """Move a waiting job. `unmet`: models that it leaves because their card does not hold them. False: it is no longer
    where the sweep read it."""
    why = None if isinstance(step, Fall) else step.why
    expected: dict[str, Any] = {"id": job.id, "deliveries": job.deliveries, "seen_queue": job.queue}
    if isinstance(step, Handoff) and step.model != job.model:
        expected["metrics"] = [count_move(job.model, step.model, step.kind or job.cause)]
    expected |= {"why": why, "unmet": unmet or None}
    reply = await link.script("move", {**expected, **move_arguments(step, to_queue)})
    return bool(reply[0] == b"moved")


def _waiting_job(row: list[Any]) -> WaitingJob:
    return WaitingJob(
        id=read_text(row[0]),
        deliveries=read_number(row[1]),
        cause=read_text(row[2]),
        attempts=row[3],
        deadline=read_moment(row[4]),
        accepted_at=read_moment(row[5]),
        queue=read_text(row[6]),
        head=row[7],
        answers=tuple(row[8]),
        default_fallback=read_text(row[9]),
        replied=row[10] != b"",
    )
