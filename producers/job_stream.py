"""The story of one job, as it happens: its events with their cursors, its place in the queue, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from openfall.router_core.jobs.job import Urgency
from openfall.router_core.jobs.result import Result
from openfall.router_core.state import job_events
from openfall.router_core.state.errors import StoreUnreachable
from openfall.router_core.state.jobs import JobStore
from openfall.router_core.state.redis_connection import RedisConnection

LOOK_AFTER_OUTAGE = 0.5


@dataclass(slots=True)
class _Place:
    """How far a reader has come, and where in its queue it saw the job last."""

    cursor: int
    position: int | None = None
    ended: bool = False


async def follow(
    link: RedisConnection, news: job_events.EventHub, job_id: str, start: int = 0
) -> AsyncGenerator[dict[str, Any], None]:
    """The events of a job from `start` on; the last one is `done`, with the result. `UnknownJob` if there is none.

    A job whose story was plain has no events left when it has ended: then there is only `done`.
    """
    intake, place = JobStore(link), _Place(start)
    async with news.subscribe(job_id) as listener:
        while not place.ended:
            try:
                for event in await _look(intake, link, job_id, place):
                    yield event
            except StoreUnreachable:
                await asyncio.sleep(LOOK_AFTER_OUTAGE)
                continue
            if not place.ended:
                await listener.wait_changed()


async def wait_result(
    link: RedisConnection, news: job_events.EventHub, job_id: str, final: bool | None = True
) -> Result:
    """The result of a job, as soon as there is one; `UnknownJob` if there is no such job.

    Of a job that is held meanwhile: its interim result when `final` is False, or None and the job is interactive.
    """
    intake = JobStore(link)
    async with news.subscribe(job_id) as listener:
        while True:
            try:
                result = await intake.result(job_id)
                if result is None and final is not True:
                    result = await interim_reply(intake, job_id, final)
            except StoreUnreachable:
                await asyncio.sleep(LOOK_AFTER_OUTAGE)
                continue
            if result is not None:
                return result
            await listener.wait_changed()


async def interim_reply(intake: JobStore, job_id: str, final: bool | None) -> Result | None:
    """What is replied while a job is held, if whoever waits is content with that; None: wait on."""
    if (reply := await intake.interim_reply(job_id)) is None:
        return None
    result, urgency = reply
    return result if final is False or urgency is Urgency.INTERACTIVE else None


async def _look(intake: JobStore, link: RedisConnection, job_id: str, place: _Place) -> list[dict[str, Any]]:
    """What is new since the last look. The result is read before the events, so that `done` never overtakes a delta."""
    result = await intake.result(job_id)
    rows = await job_events.read_events(link, job_id, place.cursor)
    told = []
    for number, row in enumerate(rows, place.cursor + 1):
        if row["event"] != "done":
            told.append({**row, "cursor": number})
            place.position = row.get("position")
    place.cursor += len(rows)
    if result is not None:
        place.ended = True
        return [*told, _done(result, place.cursor)]
    if place.position is not None and (moved := await _moved(intake, job_id, place)):
        told.append(moved)
    return told


async def _moved(intake: JobStore, job_id: str, place: _Place) -> dict[str, Any] | None:
    """A further `queued` when the job has moved up since it was told."""
    position = await intake.position(job_id)
    if position is None or position == place.position:
        return None
    place.position = position
    return {"event": "queued", "position": position, "cursor": place.cursor}


def _done(result: Result, cursor: int) -> dict[str, Any]:
    return {"event": "done", "status": str(result.status), "result": result, "cursor": cursor}
