"""Finds jobs by the first letters of their ids. Reads only, a bounded part at a time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_text
from openfall.router_core.state.errors import AmbiguousId, UnknownJob
from openfall.router_core.state.recent_jobs import fetch_jobs
from openfall.router_core.state.redis_connection import RedisConnection

MAX_CANDIDATES = 8
"""Jobs that an error names."""
SCANNED_IDS = 4096
"""Ids that Redis examines in one step: other clients wait for less than a millisecond."""


async def find_job(link: RedisConnection, typed: str) -> str:
    """The id that begins with the typed letters. Raises `UnknownJob`, and `AmbiguousId` if there are several."""
    return typed if await _exists(link, typed) else await _find(link, keys.JOBS, typed)


async def find_held_job(link: RedisConnection, typed: str) -> str:
    """The same among held jobs; of all jobs if none of them begins with the typed letters."""
    if await _exists(link, typed):
        return typed
    try:
        return await _find(link, keys.RQ_DEFERRED + keys.DEGRADE, typed)
    except UnknownJob:
        return await _find(link, keys.JOBS, typed)


async def _exists(link: RedisConnection, job_id: str) -> bool:
    return bool(await link.command("EXISTS", keys.RECORD + job_id))


async def _find(link: RedisConnection, key: str, typed: str) -> str:
    """The one id of a sorted set that begins with the typed letters and whose job Redis keeps."""
    ids = set[str]()
    async for part in _scan_members(link, key, f"{_escape(typed)}*"):
        ids.update(part)
        if len(ids) > MAX_CANDIDATES:
            break
    candidates = sorted(ids)[: MAX_CANDIDATES + 1]
    kept = await asyncio.gather(*(_exists(link, job_id) for job_id in candidates))
    existing = [job_id for job_id, is_kept in zip(candidates, kept, strict=True) if is_kept]
    if not existing:
        raise UnknownJob(typed, is_beginning=True)
    if len(existing) == 1:
        return existing[0]
    shown = {job.id: job.description for job in await fetch_jobs(link, existing)}
    names = [shown.get(job_id, job_id) for job_id in existing]
    raise AmbiguousId(typed, names[:MAX_CANDIDATES], more=len(names) > MAX_CANDIDATES)


async def _scan_members(link: RedisConnection, key: str, pattern: str) -> AsyncIterator[list[str]]:
    cursor = b"0"
    while True:
        cursor, rows = await link.command("ZSCAN", key, cursor, "MATCH", pattern, "COUNT", SCANNED_IDS)
        if ids := [read_text(member) for member in rows[::2]]:
            yield ids
        if int(cursor) == 0:
            return


def _escape(typed: str) -> str:
    """The letters as a pattern of Redis that matches only them."""
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", typed)
