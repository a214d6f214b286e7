"""Finds jobs by the first letters of their ids, or by what is known of them. Reads only, a bounded part at a time."""

from __future__ import annotations

import heapq
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from openfall.router_core.jobs.result import Status
from openfall.router_core.state import keys
from openfall.router_core.state.errors import AmbiguousId, UnknownJob
from openfall.router_core.state.redis_connection import RedisConnection

MAX_CANDIDATES = 8
"""Ids that an error names."""
SCANNED_KEYS = 4096
"""Keys of a database that Redis examines in one step: other clients wait for about a millisecond."""
BATCH_SIZE = 256

JOB_STATES = ("queued", "scheduled", "started", "held", "done")
_FIELDS = ("state", "status", "queue", "producer", "group", "accepted", "ended", "deadline", "held_for", "held_why",
           "fell_from")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedJob:
    """What a list shows of a job. `status` is how it ended, or None. Times are epoch seconds on the server's clock."""

    id: str
    state: str
    status: str | None
    queue: str
    role: str | None
    model: str
    urgency: str
    group: str | None
    producer: str
    accepted_at: float
    ended_at: float | None
    deadline: float
    held_for: str | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Selects jobs. `states` are states or statuses; empty: any. `group` and `producer` may be patterns (`bot:*`).
    `since`: accepted at this moment (epoch seconds) or later."""

    states: frozenset[str] = frozenset()
    role: str | None = None
    model: str | None = None
    group: str | None = None
    producer: str | None = None
    since: float | None = None

    def __contains__(self, job: ListedJob) -> bool:
        return (
            (not self.states or job.state in self.states or job.status in self.states)
            and self.role in (None, job.role)
            and self.model in (None, job.model)
            and (self.group is None or fnmatchcase(job.group or "", self.group))
            and (self.producer is None or fnmatchcase(job.producer, self.producer))
            and (self.since is None or job.accepted_at >= self.since)
        )

    @property
    def only_ended(self) -> bool:
        return bool(self.states) and self.states <= {"done", *Status}

    @property
    def only_unfinished(self) -> bool:
        return bool(self.states) and not self.states & {"done", *Status}


async def list_jobs(link: RedisConnection, job_filter: JobFilter, limit: int) -> tuple[list[ListedJob], int]:
    """The last accepted of the jobs that a filter selects, the newest first, and how many it selects."""
    newest: list[tuple[float, str, ListedJob]] = []
    count = 0
    async for ids in _ids(link, job_filter):
        for job in await fetch_jobs(link, ids):
            if job not in job_filter:
                continue
            count += 1
            add = heapq.heappush if len(newest) < limit else heapq.heappushpop
            add(newest, (job.accepted_at, job.id, job))
    return [job for *_, job in sorted(newest, reverse=True)], count


async def _ids(link: RedisConnection, job_filter: JobFilter) -> AsyncIterator[list[str]]:
    """The ids of the jobs that may match, in parts: those without a result, then those of which rq lists the end."""
    if not job_filter.only_ended:
        async for ids in _scan_members(link, keys.UNFINISHED):
            yield ids
    if job_filter.only_unfinished:
        return
    for queue in await link.command("SMEMBERS", keys.RQ_QUEUES):
        name = _text(queue).removeprefix(keys.RQ_QUEUE)
        for registry in (keys.RQ_FINISHED, keys.RQ_FAILED, keys.RQ_CANCELED):
            async for ids in _scan_members(link, registry + name):
                yield ids


async def _scan_members(link: RedisConnection, key: str, pattern: str = "*") -> AsyncIterator[list[str]]:
    cursor = b"0"
    while True:
        cursor, rows = await link.command("ZSCAN", key, cursor, "MATCH", pattern, "COUNT", BATCH_SIZE)
        if ids := [_text(member) for member in rows[::2]]:
            yield ids
        if int(cursor) == 0:
            return


async def fetch_jobs(link: RedisConnection, ids: Sequence[str]) -> list[ListedJob]:
    """The jobs with these ids that exist and whose record can be read."""
    rows = await link.script("job_rows", {"ids": ids, "names": _FIELDS})
    jobs = (_read_row(job_id, list(map(_text, row))) for job_id, row in zip(ids, rows, strict=True))
    return [job for job in jobs if job is not None]


def _read_row(job_id: str, row: Sequence[str]) -> ListedJob | None:
    record = dict(zip(_FIELDS, row, strict=False))
    queue = record["fell_from"] if record["queue"] == keys.DEGRADE else record["queue"]
    model, _, urgency = queue.partition(".")[2].rpartition(".")
    role = row[-1].partition("/")[0]
    try:
        return ListedJob(
            id=job_id,
            state=record["state"],
            status=record["status"] or None,
            queue=record["queue"],
            role=role if role not in ("", "-") else None,
            model=model,
            urgency=urgency,
            group=record["group"] or None,
            producer=record["producer"],
            accepted_at=int(record["accepted"]) / 1000,
            ended_at=int(record["ended"]) / 1000 if record["ended"] else None,
            deadline=int(record["deadline"]) / 1000,
            held_for=record["held_for"] or None,
            why=record["held_why"],
        )
    except ValueError:
        return None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


async def find_job(link: RedisConnection, typed: str) -> str:
    """The id that begins with the typed letters. Raises `UnknownJob`, and `AmbiguousId` if there are several."""
    if await _exists(link, typed):
        return typed
    pattern, cursor, ids = f"{keys.RECORD}{_escape(typed)}*", b"0", set[str]()
    while True:
        cursor, names = await link.command("SCAN", cursor, "MATCH", pattern, "COUNT", SCANNED_KEYS)
        ids.update(_text(key).removeprefix(keys.RECORD) for key in names)
        if int(cursor) == 0 or len(ids) > MAX_CANDIDATES:
            return _only(typed, ids)


async def find_held_job(link: RedisConnection, typed: str) -> str:
    """The same among held jobs; of all jobs if none of them begins with the typed letters."""
    if await _exists(link, typed):
        return typed
    ids = set[str]()
    async for part in _scan_members(link, keys.RQ_DEFERRED + keys.DEGRADE, f"{_escape(typed)}*"):
        ids.update(part)
    return _only(typed, ids) if ids else await find_job(link, typed)


async def _exists(link: RedisConnection, job_id: str) -> bool:
    return bool(await link.command("EXISTS", keys.RECORD + job_id))


def _only(typed: str, ids: Iterable[str]) -> str:
    ids = sorted(ids)
    if not ids:
        raise UnknownJob(typed)
    if len(ids) > 1:
        raise AmbiguousId(typed, ids[:MAX_CANDIDATES], more=len(ids) > MAX_CANDIDATES)
    return ids[0]


def _escape(typed: str) -> str:
    """The letters as a pattern of Redis that matches only them."""
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", typed)
