"""Why a job that `openfall ask` waits for does not start."""

from __future__ import annotations

import asyncio

from openfall.producers.client import AsyncOpenfall
from openfall.producers.last_worker_text import start_command
from openfall.producers.resolve import explain_queue_block
from openfall.producers.shell_command import shell_command
from openfall.router_core.state.fleet_status import fetch_status

HINT_DELAY_SECONDS = 3.0
"""After this time without a start, the command prints why the job waits."""


async def explain_wait(llm: AsyncOpenfall, job_id: str) -> str:
    """Its queue is paused, no worker serves it, or its model is blocked, and what helps. Empty: none of these."""
    record, status = await asyncio.gather(llm.record(job_id), fetch_status(llm.store.connection))
    if record.queue in {queue.name for queue in status.unserved}:
        quiet = [row.name for row in status.workers if row.alive and row.quiet and record.queue in row.queues]
        if quiet:
            resume = shell_command("openfall workers resume", quiet[0])
            return f"only quiet workers serve {record.queue}: end that with `{resume}`"
        pool = record.queue.partition(".")[0]
        last = [worker for worker in status.last_workers if worker.pool == pool]
        if last:
            at = last[0].host or "its host"
            return f"no worker serves {record.queue}: start one on {at} with `{start_command(pool, last)}`"
        work = shell_command("openfall work", pool)
        return f"no worker serves {record.queue}: start one with `openfall up` or `{work}`"
    if any(queue.paused for queue in status.queues if queue.name == record.queue):
        return f"{record.queue} is paused: {shell_command('openfall queues resume', record.queue)}"
    if record.state != "queued":
        return ""
    why = await explain_queue_block(llm.store.connection, llm.config.catalog, record.queue)
    return f"waits for {record.queue}: {why}" if why else ""
