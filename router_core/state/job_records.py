"""Reads what is known of a job: its record, its request, its result."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openfall.router_core.jobs.envelope import UnreadableEnvelope, unpack_attempts, unpack_job, unpack_result
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_hold_reason, read_moment, read_number, read_text
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.unreadable_notes import note_unreadable
from openfall.router_core.vocabulary import ErrorClass, HoldReason

BATCH_SIZE = 256
"""Jobs read in one command: Redis serves no other client meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """All that is known of a job. Times are epoch seconds on the server's clock."""

    id: str
    state: str
    queue: str
    producer: str
    accepted_at: float
    ended_at: float
    """0 while it has no result."""
    deadline: float
    deliveries: int
    crashes: int
    attempts: tuple[Attempt, ...]
    job: CompletionJob | None
    result: Result | None
    worker: str | None
    backend: str | None
    held_for: HoldReason | None
    hold_detail: str
    release_models: tuple[str, ...] = ()
    """The models whose return releases it."""
    ready_at: float = 0.0
    interim_reply: Result | None = None
    """The reply while it is held."""
    falls: int = 0
    default_fallback: str | None = None
    """The model outside its chain to which it was handed last."""
    released_by: str | None = None
    """The model whose return released it, until it has answered or the job goes elsewhere."""
    inbox: str | None = None


def read_record(job_id: str, fields: Mapping[str, bytes], prompt: bytes | None, ended: bytes | None) -> JobRecord:
    """A record from its hash, its request and its result. What cannot be read counts as unknown."""
    deadline, accepted_at = read_moment(fields.get("deadline")), read_moment(fields.get("accepted"))
    result = read_result(job_id, ended) if ended else None
    lines = b"\n".join(fields[name] for name in ("history", "attempts") if name in fields)
    return JobRecord(
        id=job_id,
        state=read_text(fields["state"]),
        queue=read_text(fields.get("queue")),
        producer=read_text(fields.get("producer")),
        accepted_at=accepted_at,
        ended_at=read_moment(fields.get("ended")),
        deadline=deadline,
        deliveries=read_number(fields.get("deliveries")),
        crashes=read_number(fields.get("crashes")),
        attempts=(result.attempts if result else ()) or read_attempts(lines),
        job=_job(prompt, deadline, accepted_at) if prompt else None,
        result=result,
        worker=_text(fields, "worker"),
        backend=_text(fields, "backend"),
        held_for=read_hold_reason(fields["held_for"]) if "held_for" in fields else None,
        hold_detail=_text(fields, "held_why") or "",
        release_models=tuple(filter(None, (_text(fields, "held_by") or "").split(","))),
        ready_at=read_moment(fields.get("ready_at")),
        interim_reply=read_result(job_id, fields["reply"]) if fields.get("reply") else None,
        falls=read_number(fields.get("falls")),
        default_fallback=_text(fields, "default_fallback"),
        released_by=_text(fields, "released"),
        inbox=_text(fields, "inbox"),
    )


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    return read_text(fields[name]) if name in fields else None


def read_attempts(lines: bytes) -> tuple[Attempt, ...]:
    """The attempts of a job, oldest first; none, if one cannot be read."""
    try:
        return unpack_attempts(lines)
    except UnreadableEnvelope:
        note_unreadable("has attempts that cannot be read")
        return ()


def _job(prompt: bytes, deadline: float, accepted_at: float) -> CompletionJob | None:
    try:
        return unpack_job(prompt, deadline, accepted_at)
    except UnreadableEnvelope:
        note_unreadable("has a request that cannot be read")
        return None


def read_result(job_id: str, packed: bytes) -> Result:
    """The result of a job. One that cannot be read is a failure that says so: its caller must not wait for ever."""
    try:
        return unpack_noted(job_id, packed)
    except UnreadableEnvelope as error:
        why = f"its result in Redis cannot be read: {error}"
        return Result(id=job_id, status=Status.FAILED, error=ErrorClass.OTHER, detail=why)


def unpack_noted(job_id: str, packed: bytes) -> Result:
    """The result of a job. Raises `UnreadableEnvelope`, which is noted."""
    try:
        return unpack_result(job_id, packed)
    except UnreadableEnvelope:
        note_unreadable("has a result that cannot be read")
        raise


async def fetch_results(link: RedisConnection, job_ids: Sequence[str]) -> dict[str, Result]:
    """The results of the jobs that have one."""
    results = {}
    for part in _parts(job_ids):
        rows = await link.command("MGET", *(keys.RESULT + job_id for job_id in part))
        for job_id, row in zip(part, rows, strict=True):
            if row is not None:
                with link.notes.reading(keys.RESULT + job_id):
                    results[job_id] = read_result(job_id, row)
    return results


async def fetch_states(link: RedisConnection, job_ids: Sequence[str]) -> dict[str, str | None]:
    """The state of each job (queued, scheduled, started, held, done); None for an unknown job."""
    states: dict[str, str | None] = {}
    for part in _parts(job_ids):
        rows = await asyncio.gather(*(link.command("HGET", keys.RECORD + job_id, "state") for job_id in part))
        states.update({id_: read_text(row) if row else None for id_, row in zip(part, rows, strict=True)})
    return states


async def count_cancelled(link: RedisConnection, job_ids: Sequence[str]) -> int:
    """How many of these jobs, which have ended, were cancelled."""
    count = 0
    for part in _parts(job_ids):
        rows = await asyncio.gather(*(link.command("HGET", keys.RECORD + job_id, "status") for job_id in part))
        count += sum(row is not None and read_text(row) == Status.CANCELLED for row in rows)
    return count


def _parts(job_ids: Sequence[str]) -> list[Sequence[str]]:
    return [job_ids[first : first + BATCH_SIZE] for first in range(0, len(job_ids), BATCH_SIZE)]
