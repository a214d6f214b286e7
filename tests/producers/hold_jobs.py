"""Makes held jobs, with the real scripts and a degrade worker of the tests."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_core import to_json

from openfall import AsyncOpenfall
from openfall.config import LoadedConfig
from openfall.router_core.deciding.steps import Fall
from openfall.router_core.degrading.fall_record import fall_record
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.degrading.judged_fall import FallContext
from openfall.router_core.jobs.envelope import unpack_job
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.jobs.synthetic_reply import synthetic_reply as reply_of
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, WorkerIdentity
from openfall.router_core.vocabulary import HoldReason, Remedy

SORRY = "No model can answer at the moment."
WHY = "no worker runs"


async def _claim_next(link: RedisConnection, queue: str, backend: str) -> tuple[WorkerQueue, Delivery]:
    """Claims the next job of a queue."""
    worker = WorkerQueue(
        link,
        WorkerIdentity("parker", queue.split(".")[0], (), ()),
        [QueueSubscription(queue, (BackendCapacity(backend, 64),))],
    )
    await worker.beat([])
    async with asyncio.timeout(60):
        while not (deliveries := (await worker.claim(1, 0)).deliveries):
            await asyncio.sleep(0.01)
    return worker, deliveries[0]


def _hold_outcome(job: CompletionJob, held: Hold, text: str) -> DeliveryOutcome:
    body = reply_of(job, text, 0.0).body if text else None
    interim = Result(
        id=job.id, status=Status.DEGRADED, body=body, held_for=held.reason, degraded_by=held.by, degraded_why=WHY,
        held_until=held.keep_until or job.deadline,
    )  # fmt: skip
    fallen = FallContext(reason=held.reason, detail=WHY, at=job.accepted_at)
    record = fall_record(job, fallen, held, FleetState(), 0.0)
    return DeliveryOutcome(next_step=held, interim_reply=interim, fall_record=to_json({**record, "notify": []}))


async def hold_next(
    link: RedisConnection, queue: str, *, reason: HoldReason = HoldReason.OUTAGE,
    models: tuple[str, ...] = ("tiny", "other"),
    reply: str = SORRY,
) -> str:  # fmt: skip
    """Hold the next job of a queue. Returns its id."""
    worker, delivery = await _claim_next(link, queue, "rack")
    settled = await worker.settle(worker.settlement(delivery, DeliveryOutcome(next_step=Fall(reason, WHY))))
    assert settled.outcome == "settled"
    degrader, fallen = await _claim_next(link, "degrade", "degrade")
    job = unpack_job(fallen.envelope, fallen.deadline, fallen.accepted_at)
    held = Hold(reason=reason, detail=WHY, by=Remedy.CANNED_REPLY if reply else None, models=models)
    assert (await degrader.settle(degrader.settlement(fallen, _hold_outcome(job, held, reply)))).outcome == "settled"
    return fallen.id


def hold_next_sync(url: str, queue: str, **options: Any) -> str:
    """`hold_next` for tests without an event loop."""

    async def main() -> str:
        async with RedisConnection(url) as link:
            return await hold_next(link, queue, **options)

    return asyncio.run(main())


def submit_held(
    loaded: LoadedConfig, *prompts: str, reason: HoldReason = HoldReason.OUTAGE,
    models: tuple[str, ...] = ("tiny", "other"),
    reply: str = SORRY, **options: Any,
) -> list[str]:  # fmt: skip
    """Submit jobs and hold them. Returns their ids. No worker may run: it would claim them first."""

    async def main() -> list[str]:
        async with AsyncOpenfall(config=loaded) as llm:
            ids = []
            for prompt in prompts:
                job = await llm.submit(prompt, **options)
                queue = (await llm.record(job.id)).queue
                ids.append(await hold_next(llm.store.connection, queue, reason=reason, models=models, reply=reply))
                assert ids[-1] == job.id
            return ids

    return asyncio.run(main())
