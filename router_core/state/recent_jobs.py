"""Lists the jobs that Redis keeps, the last accepted first, a page at a time. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from openfall.router_core.jobs.answer_reason import why_this_model
from openfall.router_core.jobs.envelope import UnreadableEnvelope, unpack_job, unpack_result_head
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state import keys
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.unreadable_notes import note_unreadable

JOB_STATES = ("queued", "scheduled", "started", "held", "done")
MAX_READ = 500
"""Records that one script reads: Redis serves no other client for some milliseconds."""
HEAD_BYTES = 8192
"""Bytes of a result, or of a request, that a row reads. Beyond them a list shows less of a job."""
_FIELDS = ("state", "status", "queue", "producer", "group", "accepted", "ended", "deadline", "held_for", "held_why",
           "fell_from")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedJob:
    """What a list shows of a job. `status` is how it ended, or None. Times are epoch seconds on the server's clock.

    `why` says why this model answered, why it is held, or why it waits for its model. Of a job without a result
    `answered_by`, `backend`, the times, the tokens and the cost are None: unknown, which is not 0.
    """

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
    answered_by: str | None = None
    backend: str | None = None
    fell_back: bool = False
    took_seconds: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None

    @property
    def outcome(self) -> str:
        """How it ended, or where it is: `answered`, `held: outage`, `queued`."""
        return self.status or (f"held: {self.held_for}" if self.held_for else self.state)

    @property
    def description(self) -> str:
        """What tells it from other jobs: `8f21c6d0... (queued, chat/batch, of bot@host)`."""
        return f"{self.id} ({self.outcome}, {self.role or '-'}/{self.urgency or '-'}, of {self.producer})"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Selects jobs. `states` are states or statuses; empty: any. `group` and `producer` may be patterns (`bot:*`).
    `since`: accepted at this moment (epoch seconds) or later. `id_text`: a part of the id.
    `only_of`: the one producer whose jobs may be listed, by its exact name."""

    states: frozenset[str] = frozenset()
    role: str | None = None
    model: str | None = None
    urgency: str | None = None
    group: str | None = None
    producer: str | None = None
    since: float | None = None
    id_text: str | None = None
    only_of: str | None = None

    def index(self) -> dict[str, Any]:
        """Where the script searches: few jobs, if there is an index of the one state."""
        match [*self.states]:
            case ["held"]:
                return {"index": keys.RQ_DEFERRED + keys.DEGRADE}
            case [Status.FAILED | Status.EXPIRED | Status.CANCELLED | Status.DEGRADED as status]:
                return {"index": keys.JOBS_ENDED + status, "by_acceptance": True}
            case _:
                return {"index": keys.JOBS, "by_acceptance": True}

    def arguments(self) -> dict[str, Any]:
        """The filter as the script reads it."""
        names = ("role", "model", "urgency", "group", "producer", "id_text", "only_of")
        chosen: dict[str, Any] = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.states:
            chosen["states"] = dict.fromkeys(self.states, True)
        if self.since is not None:
            chosen["since"] = int(self.since * 1000)
        return chosen


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, the newest first. `next_cursor`: the page behind it begins there; None: there are no more.

    A page may have fewer jobs than its limit, or none, and a cursor: older jobs were not examined.
    """

    jobs: tuple[ListedJob, ...]
    next_cursor: str | None


async def list_jobs(
    link: RedisConnection, job_filter: JobFilter, limit: int, *, before: str | None = None, max_scripts: int | None = 2
) -> JobPage:
    """A page of the jobs that a filter selects, behind the cursor `before`. Each script examines `MAX_READ` jobs; None:
    as many scripts as it needs. Held jobs are listed by when they were held. Raises `ValueError` for a cursor that is
    none."""
    cursor, jobs, scripts = _read_cursor(before), list[ListedJob](), 0
    while True:
        arguments = {
            **job_filter.index(),
            "limit": limit - len(jobs),
            "max_read": MAX_READ,
            "names": _FIELDS,
            "head_bytes": HEAD_BYTES,
            **({"before": cursor} if cursor else {}),
            **job_filter.arguments(),
        }
        reply = await link.script("job_page", arguments)
        cursor = tuple(map(_text, reply[:2])) if reply[1] else None
        jobs += filter(None, (_read_row(link, _text(job_id), row) for job_id, row in reply[2:]))
        scripts += 1
        if cursor is None or len(jobs) >= limit or scripts == max_scripts:
            return JobPage(tuple(jobs), "-".join(cursor) if cursor else None)


def cursor_at(job: ListedJob) -> str:
    """The cursor of the page that begins behind a job."""
    return f"{round(job.accepted_at * 1000)}-{job.id}"


def _read_cursor(cursor: str | None) -> tuple[str, ...] | None:
    if cursor is None:
        return None
    accepted, _, job_id = cursor.partition("-")
    if not (accepted.isascii() and accepted.isdigit() and len(accepted) < 16 and job_id):
        raise ValueError(f"{cursor!r} is no cursor of a page")
    return accepted, job_id


async def fetch_jobs(link: RedisConnection, ids: Sequence[str]) -> list[ListedJob]:
    """The jobs with these ids that exist and whose record can be read."""
    rows = await link.script("job_rows", {"ids": ids, "names": _FIELDS, "head_bytes": HEAD_BYTES})
    jobs = (_read_row(link, job_id, row) for job_id, row in zip(ids, rows, strict=True))
    return [job for job in jobs if job is not None]


def _read_row(link: RedisConnection, job_id: str, row: Sequence[bytes]) -> ListedJob | None:
    with link.notes.reading(keys.RECORD + job_id):
        return _listed_job(job_id, row)


def _listed_job(job_id: str, row: Sequence[bytes]) -> ListedJob | None:
    record = dict(zip(_FIELDS, map(_text, row), strict=False))
    description, head = row[len(_FIELDS) :]
    queue = record["fell_from"] if record["queue"] == keys.DEGRADE else record["queue"]
    model, _, urgency = queue.partition(".")[2].rpartition(".")
    role = _text(description).partition("/")[0]
    try:
        accepted_at = int(record["accepted"]) / 1000
        ended_at = int(record["ended"]) / 1000 if record["ended"] else None
        waited = round((ended_at or accepted_at) - accepted_at, 3)
        ended = record["state"] == "done"
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
            accepted_at=accepted_at,
            ended_at=ended_at,
            deadline=int(record["deadline"]) / 1000,
            held_for=record["held_for"] or None,
            **(_of_result(job_id, head, waited) if ended else {"why": record["held_why"] or _reason(head, model)}),
        )
    except ValueError:
        if any(row):  # a job that no longer exists has an empty row
            note_unreadable("cannot be read")
        return None


def _of_result(job_id: str, head: bytes, waited: float) -> dict[str, Any]:
    """What a list shows of a result, `waited` seconds after acceptance. Little, if its head cannot be read."""
    try:
        result = unpack_result_head(job_id, head)
    except UnreadableEnvelope:
        note_unreadable("has a result that cannot be read")
        return {"why": ""}
    return {
        "why": _why(result),
        "answered_by": result.model if result.answered else None,
        "backend": result.backend if result.answered else None,
        "fell_back": result.fallback_used,
        "took_seconds": result.took or waited,  # a cancel measures no time
        "input_tokens": result.input_tokens,
        "output_tokens": result.output_tokens,
        "cost_usd": result.cost_usd,
    }


def _why(result: Result) -> str:
    """Why this model answered, or why there is no answer."""
    if result.status in (Status.ANSWERED, Status.DEGRADED):
        return why_this_model(result)
    return ": ".join(filter(None, (str(result.error) if result.error else "", result.detail)))


def _reason(head: bytes, model: str) -> str:
    """Why a job waits for its model. Empty: its request is longer than its head, or cannot be read."""
    try:
        job = unpack_job(head, 0.0)
    except UnreadableEnvelope:
        return ""
    return next((each.reason for each in job.considered if each.model == model), job.reason)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
