"""What is to leave the house: taken by one poster at a time, tried again, and told of when it was all in vain.

An entry is `job:{job id}:{done|degraded}` (for the URL that its producer named) or
`notice:{notifier}:{incident id}:{began|update|recovered}` (for people).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic_core import from_json, to_json

from openfall.router_core.jobs.envelope import unpack_result
from openfall.router_core.jobs.result import Result
from openfall.router_core.state import keys
from openfall.router_core.state.incidents import Incident, read_incident
from openfall.router_core.state.redis_connection import RedisConnection, pairs

LEASE_SECONDS = 60.0
"""Seconds after which what a dead poster had taken is taken again. Well above what one post may take."""

DEAD_LETTER_TTL_SECONDS = 7 * 86400
"""How long dead letters are kept after the last one."""
MAX_DEAD_LETTERS = 200
"""So many of what was given up are kept to be looked at."""

DEGRADED, DONE = "degraded", "done"


class NoticeKind(StrEnum):
    BEGAN = "began"
    UPDATE = "update"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class JobEntry:
    """The news of a job for its producer: the interim reply (`degraded`) or the one result (`done`)."""

    job_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class NoticeEntry:
    """The news of an incident for people."""

    notifier: str
    incident: str
    kind: NoticeKind


def parse_entry(entry: str) -> JobEntry | NoticeEntry | None:
    """What an entry is about; None: nobody knows."""
    match entry.split(":"):
        case ["job", job_id, kind]:
            return JobEntry(job_id, kind)
        case ["notice", notifier, incident, kind] if kind in set(NoticeKind):
            return NoticeEntry(notifier, incident, NoticeKind(kind))
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedEntry:
    """An entry that is ours until its lease ends. `tries` have failed so far, the first was at `since` (epoch seconds).

    `what` is None when nobody knows what the entry means.
    """

    entry: str
    token: str
    tries: int
    first_claimed_at: float
    now: float

    @property
    def subject(self) -> JobEntry | NoticeEntry | None:
        return parse_entry(self.entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobNotification:
    """What a producer is told of its job. `at`: when that happened, epoch seconds."""

    url: str
    result: Result
    reply_to: Any
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeRate:
    """How often a notifier is told: `most` new incidents in `seconds`, an update every `update_every` seconds."""

    max_notices: int
    interval_seconds: float
    update_interval_seconds: float
    notify_recovery: bool


@dataclass(frozen=True, slots=True)
class NoticeAdmission:
    """A notice may be told now. `unmentioned`: so many incidents before it were over before their turn came."""

    incident: Incident
    unmentioned: int
    now: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What was tried in vain for the last time. `place` is a host, never a whole address: that may hold a token."""

    entry: str
    host: str
    why: str
    tries: int
    at: float


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """What is still to be posted: `due` (epoch seconds) is when it is tried next, `why` why the last of `tries` failed.

    Of one that is being posted, `due` is when it is tried again if its poster dies meanwhile.
    """

    entry: str
    due_at: float
    tries: int
    why: str


async def claim_entries(link: RedisConnection, want: int) -> Sequence[ClaimedEntry]:
    """Up to `want` entries that are due, those that are due longest first; each is handed to one poster."""
    reply = await link.script("outbox_claim", {"limit": want, "lease_ms": int(LEASE_SECONDS * 1000)})
    now = int(reply[0]) / 1000
    return [
        ClaimedEntry(
            entry=row[0].decode(),
            token=row[1].decode(),
            tries=int(row[2]),
            first_claimed_at=int(row[3]) / 1000,
            now=now,
        )
        for row in reply[1:]
    ]


async def mark_delivered(link: RedisConnection, taken: ClaimedEntry) -> bool:
    """It is delivered, or there is nothing to deliver any more. False, here and below: another poster has it now."""
    return await _settle(link, taken, "done")


async def defer_entry(link: RedisConnection, taken: ClaimedEntry, wait: float) -> bool:
    """It was not tried: look at it again in `wait` seconds."""
    return await _settle(link, taken, "defer", wait_ms=max(1, int(wait * 1000)))


async def retry_entry(link: RedisConnection, taken: ClaimedEntry, wait: float, why: str) -> bool:
    """It was tried in vain: once more in `wait` seconds."""
    return await _settle(link, taken, "retry", wait_ms=max(1, int(wait * 1000)), why=why)


async def mark_dead(link: RedisConnection, taken: ClaimedEntry, place: str, why: str) -> bool:
    """It was tried in vain for the last time: count it, and keep it where people can see it.

    `place` '': it came to no try any more.
    """
    tried = DeadLetter(taken.entry, place, why, taken.tries + bool(place), taken.now)
    counter = "notice_given_up" if isinstance(taken.subject, NoticeEntry) else "webhook_given_up"
    return await _settle(
        link,
        taken,
        "dead",
        to_json(tried),
        counter=counter,
        max_dead_letters=MAX_DEAD_LETTERS,
        dead_letter_ttl_s=DEAD_LETTER_TTL_SECONDS,
    )


async def record_notified(
    link: RedisConnection, taken: ClaimedEntry, turn: NoticeAdmission, message: str, update_every: float
) -> bool:
    """A notice is delivered, as `message` at its notifier ('': it names none). What came since is told in an update."""
    return await _settle(
        link,
        taken,
        "notified",
        version=turn.incident.version,
        message=message or None,
        update_interval_ms=int(update_every * 1000),
    )


async def admit_notice(link: RedisConnection, taken: ClaimedEntry, turns: NoticeRate) -> NoticeAdmission | None:
    """The turn to tell a notice now. None: not yet, or never; the outbox knows already."""
    arguments = {
        "entry": taken.entry,
        "token": taken.token,
        "max_notices": turns.max_notices,
        "interval_ms": int(turns.interval_seconds * 1000),
        "notify_recovery": turns.notify_recovery,
        "update_interval_ms": int(turns.update_interval_seconds * 1000),
    }
    reply = await link.script("notice_admit", arguments)
    if reply[0] != b"go":
        return None
    assert isinstance(taken.subject, NoticeEntry)
    incident = read_incident(taken.subject.incident, pairs(reply[3:]))
    return NoticeAdmission(incident, int(reply[2]), int(reply[1]) / 1000)


async def read_notification(link: RedisConnection, post: JobEntry) -> JobNotification | None:
    """What there is to tell of a job; None: nothing any more. `UnreadableEnvelope` of a newer openfall's result."""
    fields = ("webhook", "reply", "reply_to", "held_at", "ended")
    record, result = await asyncio.gather(
        link.command("HMGET", keys.RECORD + post.job_id, *fields),
        link.command("GET", keys.RESULT + post.job_id),
    )
    url, reply, reply_to, held_at, ended = record
    packed, at = (reply, held_at) if post.kind == DEGRADED else (result, ended)
    if not url or not packed:
        return None
    return JobNotification(
        url=url.decode(),
        result=unpack_result(post.job_id, packed),
        reply_to=from_json(reply_to) if reply_to else None,
        at=int(at or 0) / 1000,
    )


async def is_forgotten(link: RedisConnection, post: JobEntry) -> bool:
    """Whether the end of a job has passed its time. False: it can be told, or the job goes on again."""
    state, result = await asyncio.gather(
        link.command("HGET", keys.RECORD + post.job_id, "state"),
        link.command("EXISTS", keys.RESULT + post.job_id),
    )
    return not result and state in (None, b"done")


async def list_dead_letters(link: RedisConnection, most: int = MAX_DEAD_LETTERS) -> list[DeadLetter]:
    """What was given up of late, newest first."""
    return [DeadLetter(**from_json(row)) for row in await link.command("LRANGE", keys.DEAD_LETTERS, 0, most - 1)]


async def count_dead_letters(link: RedisConnection) -> int:
    """How many of what was given up are kept to be looked at."""
    return int(await link.command("LLEN", keys.DEAD_LETTERS))


async def list_pending(link: RedisConnection, most: int = 1000) -> list[PendingEntry]:
    """What is still to be posted, the next one first."""
    rows = await link.command("ZRANGE", keys.OUTBOX, 0, most - 1, "WITHSCORES")
    due = {rows[i].decode(): float(rows[i + 1]) / 1000 for i in range(0, len(rows), 2)}
    record_notified = await asyncio.gather(
        *(link.command("HMGET", keys.OUTBOX_ENTRY + entry, "tries", "why") for entry in due)
    )
    return [
        PendingEntry(entry, at, int(tries or 0), (why or b"").decode())
        for (entry, at), (tries, why) in zip(due.items(), record_notified, strict=True)
    ]


async def _settle(link: RedisConnection, taken: ClaimedEntry, verb: str, *bodies: bytes, **arguments: Any) -> bool:
    common = {"entry": taken.entry, "token": taken.token, "verb": verb}
    return bool(await link.script("outbox_settle", {**common, **arguments}, *bodies))
