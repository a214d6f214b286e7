"""Held jobs, which nothing could serve: why each is held, what releases it, replay, drop and release."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.over_budget import OverBudget
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state import keys
from openfall.router_core.state.budget_book import read_over
from openfall.router_core.state.decoding import read_hold_reason, read_moment, read_number, read_text
from openfall.router_core.state.errors import UnknownJob
from openfall.router_core.state.job_records import read_attempts
from openfall.router_core.state.jobs import end_job
from openfall.router_core.state.redis_connection import RedisConnection, pairs
from openfall.router_core.state.worker_subscription import BackendCapacity
from openfall.router_core.unknown_words import carry_word
from openfall.router_core.vocabulary import ErrorClass, HoldReason, Urgency

BATCH_SIZE = 256
"""Jobs fetched in one batch: Redis serves other clients between two."""
MAX_SUMMARIZED = 2000
"""Held jobs that a summary examines."""

_FIELDS = (
    "state",
    "held_for",
    "held_why",
    "held_at",
    "deadline",
    "fell_from",
    "queue",
    "held_by",
    "ready_at",
    "late_by",
    "late_at",
    "deliveries",
    "crash_log",
    "crash_host",
    "crashes",
    "fell_over",
    "history",
    "attempts",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldJob:
    """A job that nothing could serve. Times are epoch seconds on the server's clock.

    The return of one of `release_models` releases it, but not before `ready_at` (0: at once), and once the job is late
    (from `late_at` on, 0: unknown) that of one of `late_models`. Without such models it waits for a person. It fell
    from `queue`. `crashes`: the workers that died while they ran it. `crash_log`: where the log of the last of them is,
    on `crash_host`; empty: unknown. `over`: the budget into which its call did not fit. `packed_calls`: see `calls`."""

    id: str
    role: str | None
    queue: str
    reason: HoldReason
    why: str
    held_at: float
    deadline: float
    release_models: tuple[str, ...]
    ready_at: float
    deliveries: int
    late_models: tuple[str, ...] = ()
    late_at: float = 0.0
    crash_log: str = ""
    crash_host: str = ""
    crashes: int = 0
    over: OverBudget | None = None
    packed_calls: bytes = b""

    @property
    def calls(self) -> tuple[Attempt, ...]:
        """Its calls that ended, the oldest first, also those before a replay. None of them, if one cannot be read."""
        return read_attempts(self.packed_calls)

    @property
    def urgency(self) -> Urgency:
        return carry_word(Urgency, self.queue.rpartition(".")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFilter:
    """Selects held jobs. None: any. `since`: held at that time (epoch seconds) or later."""

    role: str | None = None
    reason: HoldReason | None = None
    since: float | None = None

    def __contains__(self, job: HeldJob) -> bool:
        return (
            self.role in (None, job.role)
            and self.reason in (None, job.reason)
            and (self.since is None or job.held_at >= self.since)
        )


ANY_HELD_JOB = HeldFilter()


@dataclass(frozen=True, slots=True)
class HeldSummary:
    """A summary of the held jobs. `by_reason` and `models` (which release them) are of the first `examined` jobs."""

    total: int = 0
    examined: int = 0
    by_reason: Mapping[HoldReason, int] = field(default_factory=dict)
    models: tuple[str, ...] = ()


async def list_held(link: RedisConnection, held_filter: HeldFilter = ANY_HELD_JOB) -> AsyncIterator[HeldJob]:
    """The held jobs that a filter selects, longest held first. A job that stays held meanwhile is never missed."""
    ids = await _ids(link)
    for first in range(0, len(ids), BATCH_SIZE):
        for job in await fetch_held(link, ids[first : first + BATCH_SIZE]):
            if job in held_filter:
                yield job


async def _ids(link: RedisConnection) -> list[str]:
    """All of them, by when they were held. A scan misses no job that stays; pages by rank would when others leave."""
    since: dict[str, float] = {}
    cursor = b"0"
    while True:
        cursor, rows = await link.command("ZSCAN", keys.RQ_DEFERRED + keys.DEGRADE, cursor, "COUNT", BATCH_SIZE)
        since.update({job_id: float(at) for job_id, at in pairs(rows).items()})
        if int(cursor) == 0:
            return sorted(since, key=lambda id_: (since[id_], id_))


async def fetch_held(link: RedisConnection, ids: Sequence[str]) -> list[HeldJob]:
    """The held ones among some jobs."""
    held: list[HeldJob] = []
    for first in range(0, len(ids), BATCH_SIZE):
        part = ids[first : first + BATCH_SIZE]
        rows = await link.script("held_rows", {"ids": part, "names": _FIELDS})
        for job_id, row in zip(part, rows, strict=True):
            with link.notes.reading(keys.RECORD + job_id):
                job = _held(job_id, row)
            held += (job,) if job else ()
    return held


async def held_longest(link: RedisConnection, limit: int) -> dict[str, float]:
    """The ids of the jobs that are held longest, each with the second since when."""
    rows = await link.command("ZRANGE", keys.RQ_DEFERRED + keys.DEGRADE, 0, limit - 1, "WITHSCORES")
    return {job_id: float(since) for job_id, since in pairs(rows).items()}


def _held(job_id: str, row: Sequence[bytes]) -> HeldJob | None:
    fields, label = dict(zip(_FIELDS, row, strict=False)), row[-1]
    if fields["state"] != b"held":
        return None
    role = read_text(label).partition("/")[0]
    return HeldJob(
        id=job_id,
        role=role if role not in ("", "-") else None,
        queue=read_text(fields["fell_from"] or fields["queue"]),
        reason=read_hold_reason(fields["held_for"]),
        why=read_text(fields["held_why"]),
        held_at=read_moment(fields["held_at"]),
        deadline=read_moment(fields["deadline"]),
        release_models=tuple(filter(None, read_text(fields["held_by"]).split(","))),
        late_models=tuple(filter(None, read_text(fields["late_by"]).split(","))),
        late_at=read_moment(fields["late_at"]),
        ready_at=read_moment(fields["ready_at"]),
        deliveries=read_number(fields["deliveries"]),
        crash_log=read_text(fields["crash_log"]),
        crash_host=read_text(fields["crash_host"]),
        crashes=read_number(fields["crashes"]),
        over=read_over(read_text(fields["fell_over"])),
        packed_calls=b"\n".join(filter(None, (fields["history"], fields["attempts"]))),
    )


async def fetch_held_summary(link: RedisConnection, limit: int = MAX_SUMMARIZED) -> HeldSummary:
    """How many jobs are held, for which reasons, and which models release them."""
    total, ids = await asyncio.gather(count_held(link), held_longest(link, limit))
    jobs = await fetch_held(link, list(ids))
    return summarize_held(total, jobs)


def summarize_held(total: int, jobs: Sequence[HeldJob]) -> HeldSummary:
    """A summary of the jobs that are held longest, out of `total`."""
    models = Counter(model for job in jobs for model in job.release_models)
    return HeldSummary(
        total,
        len(jobs),
        dict(Counter(job.reason for job in jobs).most_common()),
        tuple(name for name, _ in models.most_common()),
    )


async def count_held(link: RedisConnection) -> int:
    """How many jobs are held."""
    return int(await link.command("ZCARD", keys.RQ_DEFERRED + keys.DEGRADE))


async def replay_held(link: RedisConnection, job_id: str) -> str:
    """Put a held job back into its queue. Returns its state now. Raises `UnknownJob`."""
    state = read_text((await link.script("held_replay", {"id": job_id}))[0])
    if state == "gone":
        raise UnknownJob(job_id)
    return str(state)


async def drop_held(link: RedisConnection, job: HeldJob) -> bool:
    """End a held job as cancelled. False: it has gone on since it was seen."""
    why = "dropped by an operator"
    result = Result(id=job.id, status=Status.CANCELLED, error=ErrorClass.CANCELLED, detail=why)
    if not await fetch_held(link, [job.id]):
        return False
    return await end_job(link, result, rq_status="canceled", expected_deliveries=job.deliveries)


@dataclass(frozen=True, slots=True)
class ReleaseBudget:
    """A model that takes calls now: held jobs of these urgencies (most urgent first) may return to it, `max_jobs`
    at once."""

    model: str
    pool: str
    max_jobs: int
    urgencies: tuple[Urgency, ...]
    backend: BackendCapacity | None = None
    """The backend whose budgets a job must fit into that fell for a budget."""


async def release_held(
    link: RedisConnection, budgets: Iterable[ReleaseBudget], first: int, money: bytes = b""
) -> list[tuple[str, str]]:
    """Release held jobs to models that take calls again: `first` at once, and one more for each that was answered since
    the breaker of the model closed. So a healed backend is not flooded. Returns their ids and queues. Idempotent.

    `money`: the budgets, as `BudgetBook` packs them.
    """
    arguments = {"first": first, "budgets": list(budgets)}
    reply = await link.script("held_release", arguments, money)
    return [(read_text(job_id), read_text(queue)) for job_id, queue in reply]
