"""Pending webhooks and notices: claimed by one dispatcher at a time, retried, dead-lettered.

An entry is `job:{job id}:{done|degraded}` or `batch:{batch id}` (for its webhook), or
`notice:{notifier}:{incident id}:{began|update|recovered}` or `action:{notifier}:{id in the audit log}` (for people).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pydantic_core import to_json

from openfall.router_core.jobs.result import Result
from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_json, read_moment, read_number, read_objects, read_text
from openfall.router_core.state.incidents import Incident, read_incident
from openfall.router_core.state.job_records import unpack_noted
from openfall.router_core.state.redis_connection import RedisConnection, pairs

LEASE_SECONDS = 60.0
"""Seconds after which the entries of a dead dispatcher can be claimed again. Well above the longest delivery."""

DEAD_LETTER_TTL_SECONDS = 7 * 86400
"""How long dead letters are kept after the last one."""
MAX_DEAD_LETTERS = 200
"""Dead letters that are kept."""

DEGRADED, DONE = "degraded", "done"


class NoticeKind(StrEnum):
    BEGAN = "began"
    UPDATE = "update"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class JobEntry:
    """A webhook entry of a job: its interim reply (`degraded`) or its result (`done`)."""

    job_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class BatchEntry:
    """A webhook entry of a batch that has ended."""

    batch_id: str


@dataclass(frozen=True, slots=True)
class NoticeEntry:
    """A notice entry of an incident, for people."""

    notifier: str
    incident: str
    kind: NoticeKind


@dataclass(frozen=True, slots=True)
class ActionEntry:
    """A notice entry of an operator's action, for people. `action`: the id of its line in the audit log."""

    notifier: str
    action: str


OutboxSubject = JobEntry | BatchEntry | NoticeEntry | ActionEntry


def parse_entry(entry: str) -> OutboxSubject | None:
    """The subject of an entry; None: it is unknown."""
    match entry.split(":"):
        case ["job", job_id, kind]:
            return JobEntry(job_id, kind)
        case ["batch", batch_id]:
            return BatchEntry(batch_id)
        case ["action", notifier, action]:
            return ActionEntry(notifier, action)
        case ["notice", notifier, incident, kind] if kind in set(NoticeKind):
            return NoticeEntry(notifier, incident, NoticeKind(kind))
    return None


@dataclass(frozen=True, slots=True)
class ClaimedEntry:
    """An entry that this dispatcher has until its lease ends. `tries` have failed. Times are epoch seconds.

    `subject` is None when the entry is unknown.
    """

    entry: str
    token: str
    tries: int
    first_claimed_at: float
    now: float

    @property
    def subject(self) -> OutboxSubject | None:
        return parse_entry(self.entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobNotification:
    """A notification of a producer about its job. `at`: when it happened, epoch seconds.

    `is_response`: an event of OpenAI's Responses.
    """

    url: str
    result: Result
    reply_to: Any
    at: float
    is_response: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeRate:
    """The rate of a notifier: `max_notices` new incidents in `interval_seconds`, and how often it gets an update."""

    max_notices: int
    interval_seconds: float
    update_interval_seconds: float
    notify_recovery: bool


@dataclass(frozen=True, slots=True)
class NoticeAdmission:
    """A notice may be sent now. `unmentioned`: how many incidents were over before they could be sent."""

    incident: Incident
    unmentioned: int
    now: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An entry whose last try failed. `host` is never a whole address, which may contain a token."""

    entry: str
    host: str
    why: str
    tries: int
    at: float


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """A pending entry. `due_at`: the next try (epoch seconds). `why`: why the last of `tries` failed.

    While it is being delivered, `due_at` is when it is tried again if its dispatcher dies.
    """

    entry: str
    due_at: float
    tries: int
    why: str


async def claim_entries(link: RedisConnection, limit: int) -> Sequence[ClaimedEntry]:
    """Claim up to `limit` due entries, the longest due first. Each goes to one dispatcher."""
    reply = await link.script("outbox_claim", {"limit": limit, "lease_ms": int(LEASE_SECONDS * 1000)})
    now = read_moment(reply[0])
    return [
        ClaimedEntry(read_text(entry), read_text(token), read_number(tries), read_moment(first_claimed_at), now)
        for entry, token, tries, first_claimed_at in reply[1:]
    ]


async def mark_delivered(link: RedisConnection, claimed: ClaimedEntry) -> bool:
    """The entry is delivered, or is not needed any more. False, here and below: another dispatcher has it now."""
    return await _settle(link, claimed, "done")


async def defer_entry(link: RedisConnection, claimed: ClaimedEntry, wait_seconds: float) -> bool:
    """The entry was not tried: it is due again in `wait_seconds`."""
    return await _settle(link, claimed, "defer", wait_ms=max(1, int(wait_seconds * 1000)))


async def retry_entry(link: RedisConnection, claimed: ClaimedEntry, wait_seconds: float, why: str) -> bool:
    """A try failed: the entry is due again in `wait_seconds`."""
    return await _settle(link, claimed, "retry", wait_ms=max(1, int(wait_seconds * 1000)), why=why)


async def mark_dead(link: RedisConnection, claimed: ClaimedEntry, host: str, why: str) -> bool:
    """The last try failed: count the entry, and keep it as a dead letter.

    `host` '': it was not tried any more.
    """
    letter = DeadLetter(claimed.entry, host, why, claimed.tries + bool(host), claimed.now)
    counter = "notice_given_up" if isinstance(claimed.subject, NoticeEntry | ActionEntry) else "webhook_given_up"
    return await _settle(
        link,
        claimed,
        "dead",
        to_json(letter),
        counter=counter,
        max_dead_letters=MAX_DEAD_LETTERS,
        dead_letter_ttl_s=DEAD_LETTER_TTL_SECONDS,
    )


async def record_notified(
    link: RedisConnection,
    claimed: ClaimedEntry,
    admission: NoticeAdmission,
    message: str,
    update_interval_seconds: float,
) -> bool:
    """A notice is delivered, as `message` at its notifier ('': it has no id). Later changes are sent as an update."""
    return await _settle(
        link,
        claimed,
        "notified",
        version=admission.incident.version,
        message=message or None,
        update_interval_ms=int(update_interval_seconds * 1000),
    )


async def admit_notice(link: RedisConnection, claimed: ClaimedEntry, rate: NoticeRate) -> NoticeAdmission | None:
    """Ask whether a notice may be sent now. None: not yet, or never; the outbox is updated already."""
    arguments = {"entry": claimed.entry, "token": claimed.token, **asdict(rate)}
    reply = await link.script("notice_admit", arguments)
    if reply[0] != b"go":
        return None
    incident = read_incident(claimed.entry.split(":")[2], pairs(reply[3:]))
    return NoticeAdmission(incident, read_number(reply[2]), read_moment(reply[1]))


async def read_notification(link: RedisConnection, entry: JobEntry) -> JobNotification | None:
    """The notification of a job. None: it is not needed any more. Raises `UnreadableEnvelope` for a newer result."""
    fields = ("webhook", "reply", "reply_to", "held_at", "ended", "is_response")
    record, result = await asyncio.gather(
        link.command("HMGET", keys.RECORD + entry.job_id, *fields),
        link.command("GET", keys.RESULT + entry.job_id),
    )
    url, reply, reply_to, held_at, ended, is_response = record
    packed, at = (reply, held_at) if entry.kind == DEGRADED else (result, ended)
    if not url or not packed:
        return None
    with link.notes.reading((keys.RECORD if entry.kind == DEGRADED else keys.RESULT) + entry.job_id):
        return JobNotification(
            url=read_text(url),
            result=unpack_noted(entry.job_id, packed),
            reply_to=read_json(reply_to),
            at=read_moment(at),
            is_response=bool(is_response),
        )


async def is_forgotten(link: RedisConnection, entry: JobEntry) -> bool:
    """Whether the result of a job has expired. False: it can be sent, or the job was queued again."""
    state, result = await asyncio.gather(
        link.command("HGET", keys.RECORD + entry.job_id, "state"),
        link.command("EXISTS", keys.RESULT + entry.job_id),
    )
    return not result and state in (None, b"done")


async def list_dead_letters(link: RedisConnection) -> list[DeadLetter]:
    """The dead letters, newest first."""
    rows = await link.command("LRANGE", keys.DEAD_LETTERS, 0, MAX_DEAD_LETTERS - 1)
    with link.notes.reading(keys.DEAD_LETTERS):
        return list(read_objects(rows, _dead_letter))


def _dead_letter(row: Mapping[str, Any]) -> DeadLetter:
    return DeadLetter(str(row["entry"]), str(row["host"]), str(row["why"]), int(row["tries"]), float(row["at"]))


async def count_dead_letters(link: RedisConnection) -> int:
    """How many dead letters there are."""
    return int(await link.command("LLEN", keys.DEAD_LETTERS))


async def list_pending(link: RedisConnection, limit: int) -> list[PendingEntry]:
    """The pending entries, the next one first."""
    rows = await link.command("ZRANGE", keys.OUTBOX, 0, limit - 1, "WITHSCORES")
    with link.notes.reading(keys.OUTBOX):
        due = {entry: float(at) / 1000 for entry, at in pairs(rows).items()}
    rows = await asyncio.gather(*(link.command("HMGET", keys.OUTBOX_ENTRY + entry, "tries", "why") for entry in due))
    pending = []
    for (entry, at), (tries, why) in zip(due.items(), rows, strict=True):
        with link.notes.reading(keys.OUTBOX_ENTRY + entry):
            pending.append(PendingEntry(entry, at, read_number(tries), read_text(why)))
    return pending


async def _settle(link: RedisConnection, claimed: ClaimedEntry, verb: str, *bodies: bytes, **arguments: Any) -> bool:
    common = {"entry": claimed.entry, "token": claimed.token, "verb": verb}
    return bool(await link.script("outbox_settle", {**common, **arguments}, *bodies))
