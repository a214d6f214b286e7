"""The event stream of one job: its events with cursors, its position in the queue, its result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from openfall.producers.card_wait_reason import card_wait_event, needs_card
from openfall.producers.client_store import OUTAGE_POLL_SECONDS, UNREACHABLE, ClientStore, try_redis
from openfall.producers.outage_log import OUTAGES
from openfall.producers.resolve import explain_queue_block
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.jobs.result import Result
from openfall.router_core.jobs.stream_pieces import read_pieces, text_of
from openfall.router_core.state import job_events
from openfall.router_core.state.decoding import read_object
from openfall.router_core.state.errors import LostJob, UnknownJob
from openfall.router_core.state.job_events import Announcement, continue_from
from openfall.router_core.state.jobs import JobStore, Receipt
from openfall.router_core.vocabulary import Urgency

_ENDS = frozenset({"done", "degraded", "held"})
"""The events with which a result or an interim reply comes."""
REDIS_ERROR_SECONDS = 10.0
"""An attempt fails within this time."""
SILENT_POLLS = 2
"""Polls without an event after which a reader gets the reason, if there is one."""


@dataclass(slots=True)
class _Outage:
    """Redis does not answer a reader."""

    since: float = 0.0
    paused_at: float = float("-inf")

    async def pause(self, error: Exception) -> None:
        """Wait before the next attempt. The outage is another one if an attempt worked since the last pause."""
        now = time.monotonic()
        if now - self.paused_at > OUTAGE_POLL_SECONDS + REDIS_ERROR_SECONDS:
            self.since = now
        self.paused_at = now
        OUTAGES.note(error, self.since)
        await asyncio.sleep(OUTAGE_POLL_SECONDS)


@dataclass(slots=True)
class _Progress:
    """How far a reader has read, and the last queue position it yielded."""

    cursor: int
    last: dict[str, Any] | None = None
    """The last event of the list that was read."""
    has_pieces: bool = False
    position: int | None = None
    is_known: bool = False
    """Redis knew the job."""
    ended: bool = False
    silent_polls: int = 0
    explained: bool = False
    on_card: bool | None = None
    """Whether its model needs a card; None: unknown yet."""
    card_wait: dict[str, Any] | None = None
    """The last event about the card that it waits for."""
    outage: _Outage = field(default_factory=_Outage)

    def needs_reason(self, announced: Sequence[Announcement]) -> bool:
        """Whether a silence is long and its reason is not known to the reader."""
        if announced:
            self.silent_polls, self.explained = 0, False
            return False
        self.silent_polls += 1
        return not self.explained and self.silent_polls % SILENT_POLLS == 0

    def start_again(self) -> list[dict[str, Any]]:
        """Read from the first event on. The event for a reader who has pieces that are void now."""
        had_pieces = self.has_pieces
        self.cursor, self.last, self.has_pieces = 0, None, False
        return [{"event": "reset", "cursor": 0}] if had_pieces else []

    def take(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The next events of the list, as a reader gets them."""
        events = []
        for row in rows:
            self.cursor += 1
            self.last = row
            self.has_pieces = self.has_pieces or row["event"] == "delta"
            if row["event"] != "done":
                events.append(_readable(row, self.cursor))
                self.position = row.get("position")
        return events


async def follow(
    store: ClientStore,
    job: Receipt | str,
    cursor: int = 0,
    catalog: Catalog | None = None,
    *,
    requests_pieces: bool = False,
) -> AsyncGenerator[dict[str, Any], None]:
    """The events of a job after `cursor`; the last is `done`, with the result. A `delta` has `pieces` and their `text`.
    `requests_pieces` of a job that was submitted without a stream too. With a `catalog` there is a `blocked` when
    nothing has happened for some seconds and no worker may take the job, and a `waiting_for_model` or `model_switching`
    while a card must first load its model. Raises `UnknownJob`, and `LostJob` of a job that was accepted.

    A job without deltas keeps no events once it has ended: then `done` is the only one. When a failover of Redis has
    lost events that were read, those that it has follow from the first one on, after a `reset` if pieces were read.
    """
    job_id, is_known = _id_of(job)
    progress = _Progress(cursor, is_known=is_known)
    rows: list[dict[str, Any]] | None = None
    async with store.events.subscribe(job_id) as listener:
        while not progress.ended:
            try:
                if requests_pieces:
                    with suppress(UnknownJob):  # the read that follows says so
                        await store.jobs.request_stream(job_id)
                    requests_pieces = False
                events = progress.take(rows) if rows is not None else await _read_new(store, job_id, progress)
            except UNREACHABLE as error:
                await progress.outage.pause(error)
                continue
            for event in events:
                yield event
            if not progress.ended:
                announced = await listener.next_events()
                rows = continue_from(progress.cursor, announced)
                needs_reason = progress.needs_reason(announced)
                if catalog and not announced:
                    reason = await _why_silent(store, catalog, job_id, progress, needs_reason=needs_reason)
                    if reason is not None:
                        yield reason


async def _why_silent(
    store: ClientStore, catalog: Catalog, job_id: str, progress: _Progress, *, needs_reason: bool
) -> dict[str, Any] | None:
    """An event for a queued job without other events: the card that it waits for, each time that something has
    changed, or why no worker may take it, with the remedy. None: there is nothing to say, or Redis does not answer."""
    if not (needs_reason or progress.on_card is not False):
        return None
    record = await try_redis(store.jobs.record(job_id))
    if record is None or record.state != "queued":
        return None
    _, _, name = record.queue.partition(".")
    alias, _, urgency = name.partition(".")
    progress.on_card = needs_card(catalog, alias)
    if progress.on_card:
        wait = await try_redis(card_wait_event(store.connection, catalog, alias, Urgency(urgency)))
        if wait:
            is_new, progress.card_wait = wait != progress.card_wait, wait
            return {**wait, "cursor": progress.cursor} if is_new else None
    if not needs_reason:
        return None
    why = await try_redis(explain_queue_block(store.connection, catalog, record.queue, remedies=True))
    progress.explained = bool(why)
    return {"event": "blocked", "why": why, "cursor": progress.cursor} if why else None


async def wait_result(store: ClientStore, job: Receipt | str, accept_interim: bool | None) -> Result:
    """The result of a job, as soon as there is one; see `AsyncOpenfall.wait`. Raises `UnknownJob`, and `LostJob` of a
    job with a receipt, or that it has seen."""
    job_id, is_known = _id_of(job)
    outage = _Outage()
    async with store.events.subscribe(job_id) as listener:
        while True:
            try:
                result, is_known = await _read_result(store, job_id, is_known=is_known), True
                if result is None and accept_interim is not False:
                    result = await interim_reply(store.jobs, job_id, accept_interim)
            except UNREACHABLE as error:
                await outage.pause(error)
                continue
            if result is not None:
                return result
            while (rows := _announced(await listener.next_events())) and _ENDS.isdisjoint(rows):
                pass  # the events of a stream say nothing of a result


def _id_of(job: Receipt | str) -> tuple[str, bool]:
    """The id, and whether Redis is known to have accepted the job."""
    return (job, False) if isinstance(job, str) else (job.id, True)


async def _read_result(store: ClientStore, job_id: str, *, is_known: bool) -> Result | None:
    await store.check_primary()
    try:
        return await store.jobs.result(job_id)
    except UnknownJob:
        if is_known:
            raise LostJob(job_id) from None
        raise


def _announced(announcements: Sequence[Announcement]) -> list[str] | None:
    """The names of the announced events. None: there may be others."""
    if not announcements or not all(announced.length for announced in announcements):
        return None
    return [str((read_object(announced.event) or {}).get("event")) for announced in announcements]


async def interim_reply(jobs: JobStore, job_id: str, accept_interim: bool | None = None) -> Result | None:
    """The interim reply of a held job. None: there is none, or the job is not interactive and `accept_interim` is not
    True."""
    if (reply := await jobs.interim_reply(job_id)) is None:
        return None
    result, urgency = reply
    return result if accept_interim or urgency is Urgency.INTERACTIVE else None


async def _read_new(store: ClientStore, job_id: str, progress: _Progress) -> list[dict[str, Any]]:
    """The events since the last read. Reads the result before the events, so that `done` never overtakes a delta."""
    result = await _read_result(store, job_id, is_known=progress.is_known)
    progress.is_known = True
    last, events = progress.last, list[dict[str, Any]]()
    rows = await job_events.read_events(store.connection, job_id, progress.cursor - (last is not None))
    if last is not None:
        known, rows = rows[:1], rows[1:]
        # A shorter list may be completed: the worker has the pieces. One that has ended, or goes on otherwise, is not.
        if known != [last] if known else result is not None and progress.has_pieces:
            rows = await job_events.read_events(store.connection, job_id)
            events = progress.start_again()
    events += progress.take(rows)
    if result is not None:
        progress.ended = True
        events.append({"event": "done", "status": str(result.status), "result": result, "cursor": progress.cursor})
    elif progress.position is not None:
        position = await store.jobs.position(job_id)
        if position is not None and position != progress.position:
            progress.position = position
            events.append({"event": "queued", "position": position, "cursor": progress.cursor})
    return events


def _readable(row: dict[str, Any], cursor: int) -> dict[str, Any]:
    """An event as a reader gets it. A `delta` has its pieces, and their text."""
    if row["event"] != "delta":
        return {**row, "cursor": cursor}
    pieces = read_pieces(row)
    return {"event": "delta", "text": text_of(pieces), "pieces": pieces, "cursor": cursor}
