"""Why the lines of a batch wait: what blocks their queues, or why they are held."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from openfall.producers.client import AsyncOpenfall
from openfall.producers.resolve import ALL_SLOTS_BUSY, explain_queue_block
from openfall.router_core.state.operator_switches import is_suspended
from openfall.router_core.state.recent_jobs import ListedJob, fetch_jobs

MAX_EXAMINED = 256
"""Jobs that are examined, the longest waiting first."""
MAX_REASONS = 3


async def explain_waiting(client: AsyncOpenfall, job_ids: Sequence[str]) -> str:
    """Why jobs have no result, in words. Empty: nothing is known to keep them from it, or they wait their turn."""
    if not job_ids:
        return ""
    link, catalog = client.store.connection, client.config.catalog
    jobs, suspended = await asyncio.gather(fetch_jobs(link, job_ids[:MAX_EXAMINED]), is_suspended(link))
    if suspended:
        return "everything is suspended (`rq resume` ends that)"
    queues = Counter(job.queue for job in jobs if job.state in ("queued", "scheduled"))
    holds = Counter(map(_describe_hold, (job for job in jobs if job.state == "held")))
    blocks = await asyncio.gather(
        *(explain_queue_block(link, catalog, queue, remedies=True) for queue, _ in queues.most_common(MAX_REASONS))
    )
    held = [f"{count:,} held {reason}" for reason, count in holds.most_common(MAX_REASONS)]
    return "; ".join(dict.fromkeys(why for why in [*blocks, *held] if why not in ("", ALL_SLOTS_BUSY)))


def _describe_hold(job: ListedJob) -> str:
    return f"({job.held_for}), see `openfall held list`: {job.why}"
