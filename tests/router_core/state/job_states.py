"""A job in every state that it can be in, and where rq shows it."""

from __future__ import annotations

import pytest
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from openfall.router_core.deciding.steps import Fall, Later
from openfall.router_core.state.beats_and_leases import LEASE_SECONDS
from openfall.router_core.state.reap_and_sweep import reap
from openfall.router_core.vocabulary import HoldReason

JOB, SECRET, ANSWER = "job-00001", b"the-private-prompt", b"the-private-answer"
QUEUE = "gpu.smol.background"


async def queued(f):
    await f.accept(JOB, job={"role": "chat"})


async def started(f):
    await queued(f)
    worker = await f.worker()
    return worker, await f.claim(worker)


async def finished(f):
    worker, delivery = await started(f)
    await f.settle(worker, delivery)


async def failed(f):
    worker, delivery = await started(f)
    await f.settle(worker, delivery, f.failed(delivery))


async def scheduled(f):
    worker, delivery = await started(f)
    await f.settle(worker, delivery, Later("smol", 30))


async def held(f):
    worker, delivery = await started(f)
    await f.settle(worker, delivery, Fall(HoldReason.OUTAGE, "every model is away"))
    await f.degrade()


async def fallen(f):
    worker, delivery = await started(f)
    await f.settle(worker, delivery, Fall(HoldReason.OUTAGE, "every model is away"))


async def cancelled(f):
    await started(f)
    await f.job_store.cancel(JOB)


async def suspected(f):
    await queued(f)
    for name in ("first", "second"):
        await f.claim(await f.worker(name))
        await f.pass_time(LEASE_SECONDS + 1)
        await reap(f.link)


STATES = [
    pytest.param(queued, "queued", "queued", QUEUE, id="queued"),
    pytest.param(started, "started", "started", QUEUE, id="started"),
    pytest.param(finished, "finished", "finished", QUEUE, id="answered"),
    pytest.param(failed, "failed", "failed", QUEUE, id="failed"),
    pytest.param(scheduled, "scheduled", "scheduled", QUEUE, id="put off"),
    pytest.param(suspected, "scheduled", "scheduled", QUEUE, id="suspected"),
    pytest.param(fallen, "queued", "queued", "degrade", id="fallen"),
    pytest.param(held, "deferred", "deferred", "degrade", id="held"),
    pytest.param(cancelled, "canceled", "canceled", QUEUE, id="cancelled"),
]


def registries(f, queue):
    """The job ids in each of a queue's registries, as rq reads them, without its clean-up."""
    q = Queue(queue, connection=f.store, serializer=JSONSerializer)
    return {
        "queued": q.get_job_ids(),
        "started": q.started_job_registry.get_job_ids(cleanup=False),
        "finished": q.finished_job_registry.get_job_ids(cleanup=False),
        "failed": q.failed_job_registry.get_job_ids(cleanup=False),
        "scheduled": q.scheduled_job_registry.get_job_ids(cleanup=False),
        "deferred": q.deferred_job_registry.get_job_ids(cleanup=False),
        "canceled": q.canceled_job_registry.get_job_ids(cleanup=False),
    }


def fetch(f, job_id=JOB):
    return Job.fetch(job_id, connection=f.store, serializer=JSONSerializer)
