"""Jobs that fell and are held: by the scripts that do it, on the word of a degrade worker of the tests' own."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_core import to_json

from config import Loaded
from producers import AsyncOpenfall
from router_core.decide import Fall
from router_core.degrade import Fallen, Hold
from router_core.envelope import unpack_job
from router_core.falls import fall_record
from router_core.fleet import Fleet
from router_core.job import CompletionJob
from router_core.open_fall import HoldReason, Remedy
from router_core.reply import reply as reply_of
from router_core.result import Result, Status
from router_core.state.claims import Delivery
from router_core.state.delivery import Deliveries
from router_core.state.drained import Drained, Identity, Seat
from router_core.state.link import Link
from router_core.state.settling import Ending

SORRY = "No model can answer at the moment."
WHY = "nobody is there"


async def _claimed(link: Link, queue: str, backend: str) -> tuple[Deliveries, Delivery]:
    """The next job of a queue, as soon as there is one."""
    worker = Deliveries(link, Identity("parker", queue.split(".")[0], (), ()), [Drained(queue, (Seat(backend, 64),))])
    await worker.beat([])
    async with asyncio.timeout(20):
        while not (taken := (await worker.claim(1, 0)).deliveries):
            await asyncio.sleep(0.01)
    return worker, taken[0]


def _landing(job: CompletionJob, held: Hold, text: str) -> Ending:
    body = reply_of(job, text, 0.0).body if text else None
    interim = Result(
        id=job.id, status=Status.DEGRADED, body=body, held_for=held.reason, degraded_by=held.by, degraded_why=WHY
    )
    fallen = Fallen(reason=held.reason, detail=WHY, at=job.accepted_at)
    record = fall_record(job, fallen, held, Fleet(), 0.0)
    return Ending(next=held, reply=interim, fall=to_json({**record, "notify": []}))


async def hold_next(
    link: Link, queue: str, *, reason: HoldReason = HoldReason.OUTAGE, models: tuple[str, ...] = ("tiny", "other"),
    reply: str = SORRY,
) -> str:  # fmt: skip
    """Hold the next job that comes into a queue; its id."""
    worker, delivery = await _claimed(link, queue, "here")
    settled = await worker.settle(worker.settling(delivery, Ending(next=Fall(reason, WHY))))
    assert settled.came == "settled"
    degrader, fallen = await _claimed(link, "degrade", "degrade")
    job = unpack_job(fallen.envelope, fallen.deadline, fallen.accepted_at)
    held = Hold(reason=reason, detail=WHY, by=Remedy.CANNED_REPLY if reply else None, models=models)
    assert (await degrader.settle(degrader.settling(fallen, _landing(job, held, reply)))).came == "settled"
    return fallen.id


def held_next(url: str, queue: str, **told: Any) -> str:
    """The same, for tests without an event loop."""

    async def main() -> str:
        async with Link(url) as link:
            return await hold_next(link, queue, **told)

    return asyncio.run(main())


def park(
    loaded: Loaded, *prompts: str, reason: HoldReason = HoldReason.OUTAGE, models: tuple[str, ...] = ("tiny", "other"),
    reply: str = SORRY, **options: Any,
) -> list[str]:  # fmt: skip
    """Put jobs in and hold them; their ids. No worker may be there: it would have them first."""

    async def main() -> list[str]:
        async with AsyncOpenfall(config=loaded) as llm:
            ids = []
            for prompt in prompts:
                job = await llm.submit(prompt, **options)
                queue = (await llm.record(job.id)).queue
                ids.append(await hold_next(llm.link, queue, reason=reason, models=models, reply=reply))
                assert ids[-1] == job.id
            return ids

    return asyncio.run(main())
