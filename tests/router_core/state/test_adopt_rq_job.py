"""Jobs enqueued with plain rq: each names an accepted job, which runs (again), or fails with the reason."""

from __future__ import annotations

import os
import pickle
import zlib

import pytest
from rq import Queue
from rq.results import Result as RqResult
from rq.serializers import JSONSerializer

from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.beats_and_leases import LEASE_SECONDS
from openfall.router_core.state.jobs import end_job
from openfall.router_core.state.reap_and_sweep import reap
from openfall.workers.rq_jobs import parse_rq_call
from tests.router_core.state.job_states import JOB, QUEUE, failed, fetch, finished, held, queued, registries


def ask(f, *args, queue=QUEUE, func="openfall.deliver", serializer=JSONSerializer):
    return Queue(queue, connection=f.store, serializer=serializer).enqueue(func, *args)


async def answer_ticket(f, worker):
    """What a worker does with the one ticket that its claim brings."""
    (ticket,) = (await worker.claim(1, 0)).rq_jobs
    job_id, why_not = parse_rq_call(ticket.data)
    return ticket, await worker.adopt_rq_job(ticket, job_id, why_not, 600)


def test_plain_rq_can_ask_for_an_accepted_job(fleet):
    async def story(f):
        await queued(f)
        f.store.lrem("rq:queue:" + QUEUE, 0, JOB)
        asking = ask(f, JOB)
        worker = await f.worker()
        ticket, state = await answer_ticket(f, worker)
        assert (ticket.id, ticket.queue, state) == (asking.id, QUEUE, "queued")
        asking = fetch(f, asking.id)
        assert (asking.get_status(), asking.latest_result().type) == ("finished", RqResult.Type.SUCCESSFUL)
        assert registries(f, QUEUE)["finished"] == [asking.id]
        assert await worker.adopt_rq_job(ticket, JOB, "", 600) == "again"

    fleet(story)


def test_asking_for_a_job_that_waits_leaves_it_where_it_is(fleet):
    async def story(f):
        await queued(f)
        await f.accept("job-00002")
        await f.accept("job-00003")
        worker = await f.worker(slots=1)
        await f.claim(worker)
        ask(f, "job-00003", queue="gpu.large.background")
        other = await f.worker("other", queues=("gpu.large.background",), backend="elsewhere")
        assert (await answer_ticket(f, other))[1] == "queued"
        assert f.rq_places("job-00003") == [("queue", QUEUE)]
        assert f.store.lrange("rq:queue:" + QUEUE, 0, -1) == [b"job-00002", b"job-00003"]

    fleet(story)


@pytest.mark.parametrize("reach", [failed, held])
def test_asking_for_a_failed_or_held_job_runs_it_again_and_keeps_its_events(fleet, reach):
    async def story(f):
        await reach(f)
        ask(f, JOB)
        worker = await f.worker("adopter")
        assert (await answer_ticket(f, worker))[1] == "queued"
        assert f.rq_places(JOB) == [("queue", QUEUE)]
        assert fetch(f).get_status() == "queued"
        assert await f.job_store.result(JOB) is None
        assert {f.store.ttl(key) for key in f.store.keys(f"*{JOB}")} == {-1}
        record = await f.job_store.record(JOB)
        assert (len(record.attempts), record.job.body) == (1, f.job().body)
        assert JOB.encode() in f.store.zrange("of:unfinished", 0, -1)
        delivery = await f.claim(worker)
        assert delivery.attempts == b""
        await f.settle(worker, delivery)
        assert fetch(f).return_value() == {"status": "answered", "model": "smol"}
        assert f.rq_places(JOB) == [("finished", QUEUE)]

    fleet(story)


def test_a_job_that_runs_again_keeps_its_idempotency_key(fleet):
    async def story(f):
        await f.accept(JOB, idempotency_key="k")
        worker = await f.worker()
        delivery = await f.claim(worker)
        await f.settle(worker, delivery, f.failed(delivery))
        ask(f, JOB)
        await answer_ticket(f, worker)
        (key,) = f.store.keys("of:idem:*")
        assert f.store.ttl(key) == -1

    fleet(story)


def test_asking_for_an_answered_job_changes_nothing(fleet):
    async def story(f):
        await finished(f)
        ask(f, JOB)
        assert (await answer_ticket(f, await f.worker("adopter")))[1] == "done"
        assert fetch(f).return_value() == {"status": "answered", "model": "smol"}

    fleet(story)


@pytest.mark.parametrize(
    ("asking", "reason"),
    [
        pytest.param({"args": ("job-99999",)}, "no job job-99999", id="an unknown job"),
        pytest.param({"args": ("1",), "func": "os.system"}, "runs only 'openfall.deliver'", id="other work"),
        pytest.param({"args": (JOB, 2)}, "takes one argument", id="too many arguments"),
    ],
)
def test_a_refused_rq_job_fails_with_its_reason(fleet, asking, reason):
    async def story(f):
        asking_job = ask(f, *asking["args"], func=asking.get("func", "openfall.deliver"))
        assert (await answer_ticket(f, await f.worker()))[1] == "unknown"
        asking_job = fetch(f, asking_job.id)
        assert asking_job.get_status() == "failed"
        assert reason in asking_job.latest_result().exc_string
        assert registries(f, QUEUE)["failed"] == [asking_job.id]

    fleet(story)


def test_rqs_own_requeue_of_a_failed_job_runs_it_again(fleet):
    async def story(f):
        await failed(f)
        fetch(f).requeue()
        worker = await f.worker("adopter")
        ticket, state = await answer_ticket(f, worker)
        assert (ticket.id, state) == (JOB, "queued")
        assert (f.rq_places(JOB), fetch(f).get_status()) == ([("queue", QUEUE)], "queued")
        await f.settle(worker, await f.claim(worker))
        assert f.rq_places(JOB) == [("finished", QUEUE)]
        assert (await f.job_store.result(JOB)).answered

    fleet(story)


@pytest.mark.parametrize(("status", "shown"), [(Status.EXPIRED, "failed"), (Status.DEGRADED, "finished")])
def test_rqs_own_requeue_of_a_job_that_cannot_run_again_shows_its_end(fleet, status, shown):
    async def story(f):
        await queued(f)
        worker = await f.worker()
        await end_job(f.link, Result(id=JOB, status=status), rq_status="failed")
        fetch(f).requeue()
        assert (await answer_ticket(f, worker))[1] == "done"
        assert fetch(f).get_status() == shown

    fleet(story)


class Exploding:
    def __reduce__(self):
        return (os._exit, (86,))


def test_a_pickle_is_refused_unread(fleet):
    async def story(f):
        job = ask(f, JOB)
        f.store.hset(
            "rq:job:" + job.id,
            "data",
            zlib.compress(pickle.dumps(("openfall.deliver", None, (Exploding(),), {}))),
        )
        assert (await answer_ticket(f, await f.worker()))[1] == "unknown"
        assert "does not read pickles" in fetch(f, job.id).latest_result().exc_string

    fleet(story)


def test_an_rq_job_whose_worker_died_is_delivered_again(fleet):
    async def story(f):
        await queued(f)
        f.store.lrem("rq:queue:" + QUEUE, 0, JOB)
        asking = ask(f, JOB)
        (ticket,) = (await (await f.worker("dead-one")).claim(1, 0)).rq_jobs
        await f.pass_time(LEASE_SECONDS + 1)
        heir = await f.worker("heir")
        await reap(f.link)
        assert registries(f, QUEUE)["queued"] == [asking.id]
        assert (await answer_ticket(f, heir))[0] == ticket

    fleet(story)


def test_a_claim_takes_no_more_rq_jobs_than_its_limit(fleet):
    async def story(f):
        for n in range(5):
            ask(f, f"job-0000{n}")
        assert len((await (await f.worker(slots=9)).claim(2, 0)).rq_jobs) == 2

    fleet(story)
