"""Pending and failed notifications, for `openfall outbox` and the page. They show no URL: it may contain a token."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from openfall.producers.duration_text import format_age
from openfall.producers.table import JobLink, Table
from openfall.router_core.state.outbox import (
    ActionEntry,
    BatchEntry,
    DeadLetter,
    JobEntry,
    NoticeEntry,
    PendingEntry,
    list_dead_letters,
    list_pending,
    parse_entry,
)
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.server_clock import fetch_server_time

MAX_PENDING = 1000
PENDING_COLUMNS = ("of", "event", "tries", "next try", "last error")
DEAD_COLUMNS = ("of", "event", "tries", "failed", "host", "reason")


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """What the outbox has, at `now` on the server's clock."""

    pending: Sequence[PendingEntry]
    dead_letters: Sequence[DeadLetter]
    now: float

    @property
    def values(self) -> dict[str, Any]:
        """As JSON shows it."""
        return {
            "waiting": [{**asdict(entry), **_entry_values(entry.entry)} for entry in self.pending],
            "given_up": [{**asdict(entry), **_entry_values(entry.entry)} for entry in self.dead_letters],
        }

    @property
    def pending_table(self) -> Table:
        return Table(
            columns=PENDING_COLUMNS,
            rows=[
                (
                    *_entry_cells(entry.entry),
                    entry.tries,
                    f"in {format_age(max(0.0, entry.due_at - self.now))}",
                    entry.why or "-",
                )
                for entry in self.pending
            ],
            if_empty="no notification is pending",
            subjects=[entry.entry for entry in self.pending],
        )

    @property
    def failed_table(self) -> Table:
        return Table(
            columns=DEAD_COLUMNS,
            rows=[
                (
                    *_entry_cells(entry.entry),
                    entry.tries,
                    f"{format_age(self.now - entry.at)} ago",
                    entry.host or "-",
                    entry.why,
                )
                for entry in self.dead_letters
            ],
            if_empty="no notification failed for good",
            subjects=[entry.entry for entry in self.dead_letters],
        )


async def fetch_outbox(link: RedisConnection, limit: int = MAX_PENDING) -> OutboxStatus:
    """Up to `limit` pending entries, the next one first, and all that failed for good."""
    pending, failed, now = await asyncio.gather(
        list_pending(link, limit), list_dead_letters(link), fetch_server_time(link)
    )
    return OutboxStatus(pending, failed, now)


def _entry_values(entry: str) -> dict[str, Any]:
    """The job, batch or incident of an entry, its event, and its notifier (None: a webhook that its caller named)."""
    match parse_entry(entry):
        case JobEntry(job_id, kind):
            return {"of": f"job {job_id}", "kind": kind, "notifier": None}
        case BatchEntry(batch_id):
            return {"of": f"batch {batch_id}", "kind": "done", "notifier": None}
        case NoticeEntry(notifier, incident, kind):
            return {"of": f"incident {incident}", "kind": kind, "notifier": notifier}
        case ActionEntry(notifier, action):
            return {"of": f"action {action}", "kind": "done", "notifier": notifier}
        case None:
            return {"of": entry, "kind": None, "notifier": None}


def _entry_cells(entry: str) -> tuple[object, str]:
    values, subject = _entry_values(entry), parse_entry(entry)
    of = JobLink(values["of"], subject.job_id) if isinstance(subject, JobEntry) else values["of"]
    recipient = f", to {values['notifier']}" if values["notifier"] else ""
    return of, f"{values['kind'] or '-'}{recipient}"
