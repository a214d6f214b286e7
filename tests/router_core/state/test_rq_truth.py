"""What rq's own tools say of our jobs: the truth, in every state, and looking changes nothing."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import time
import zlib

import pytest
from rq import Queue, Worker
from rq.registry import StartedJobRegistry
from rq.results import Result as RqResult
from rq.serializers import JSONSerializer

from openfall.router_core.deciding.steps import Fall
from openfall.router_core.vocabulary import HoldReason
from tests.router_core.state.job_states import (
    ANSWER,
    JOB,
    QUEUE,
    SECRET,
    STATES,
    failed,
    fetch,
    finished,
    queued,
    registries,
    started,
)


@pytest.mark.parametrize(("reach", "status", "registry", "queue"), STATES)
def test_rq_finds_a_job_where_its_status_says(fleet, reach, status, registry, queue):
    async def story(f):
        await reach(f)
        job = fetch(f)
        assert (job.get_status(), job.origin) == (status, queue)
        assert (job.func_name, job.args, job.kwargs) == ("openfall.deliver", job.args, {})
        assert list(job.args) == [JOB]
        assert job.description == "chat/background smol"
        assert registries(f, queue) == {name: [JOB] if name == registry else [] for name in registries(f, queue)}
        assert {q.name for q in Queue.all(connection=f.store)} >= {queue}

    fleet(story)


def test_rqs_record_of_a_queued_job_is_stored_compactly(fleet):
    async def story(f):
        job_id = "0123456789abcdef01234567"  # as long as an id of the client
        await f.accept(job_id)
        assert f.store.object("encoding", f"rq:job:{job_id}") in ("listpack", b"listpack")

    fleet(story)


@pytest.mark.parametrize(("reach", "status", "registry", "queue"), STATES)
def test_rqs_keys_contain_no_prompt_and_no_answer(fleet, reach, status, registry, queue):
    async def story(f):
        await reach(f)
        for key in f.store.keys("rq:*"):
            for text in _texts(f, key):
                for known in (SECRET, ANSWER):
                    assert known not in text, key

    fleet(story)


def _texts(f, key):
    """Everything in a key, also what rq keeps compressed."""
    kind = f.store.type(key)
    if kind == b"hash":
        values = [part for pair in f.store.hgetall(key).items() for part in pair]
    elif kind == b"stream":
        values = [part for _, entry in f.store.xrange(key) for pair in entry.items() for part in pair]
    else:
        read = {b"list": f.store.lrange, b"zset": f.store.zrange}
        values = read[kind](key, 0, -1) if kind in read else None
        values = list(f.store.smembers(key)) if kind == b"set" else values if values is not None else [f.store.get(key)]
    for text in values:
        yield text
        for decode in (zlib.decompress, base64.b64decode, lambda text: zlib.decompress(base64.b64decode(text))):
            with contextlib.suppress(zlib.error, ValueError):
                yield decode(text)


def test_rq_shows_what_an_answered_job_returned_and_when(fleet):
    async def story(f):
        await finished(f)
        job = fetch(f)
        assert job.return_value() == {"status": "answered", "model": "smol"}
        assert job.latest_result().type is RqResult.Type.SUCCESSFUL
        assert job.started_at is not None
        assert job.ended_at is not None
        assert job.enqueued_at <= job.started_at <= job.ended_at
        assert job.ended_at.timestamp() == f.clock.now
        assert job.worker_name == "worker-a"
        assert job.is_finished

    fleet(story)


def test_rq_shows_why_a_job_failed(fleet):
    async def story(f):
        await failed(f)
        result = fetch(f).latest_result()
        assert result.type is RqResult.Type.FAILED
        assert result.exc_string == "bad_request: unknown field 'messagse'"

    fleet(story)


def test_rq_shows_the_worker_of_a_job(fleet):
    async def story(f):
        worker, delivery = await started(f)
        (execution,) = fetch(f).get_executions()
        assert (execution.job_id, execution.id, execution.worker_name) == (JOB, delivery.token, "worker-a")
        assert execution.created_at.timestamp() == f.clock.now
        f.clock.now += 2
        await worker.beat([delivery])
        (execution,) = fetch(f).get_executions()
        assert execution.last_heartbeat.timestamp() == f.clock.now
        await f.settle(worker, delivery)
        assert fetch(f).get_executions() == []
        assert not f.store.keys("rq:execution*")

    fleet(story)


def test_rq_lists_workers_with_their_queues_state_and_counts(fleet):
    async def story(f):
        worker, delivery = await started(f)
        (rq_worker,) = Worker.all(connection=f.store)
        assert (rq_worker.name, rq_worker.queue_names(), rq_worker.get_state()) == ("worker-a", [QUEUE], "busy")
        assert rq_worker.pid == os.getpid()
        await f.settle(worker, delivery)
        await worker.beat([])  # counts go with a beat
        await worker.claim(1, 0)
        (rq_worker,) = Worker.all(queue=Queue(QUEUE, connection=f.store))
        assert (rq_worker.get_state(), rq_worker.successful_job_count, rq_worker.failed_job_count) == ("idle", 1, 0)
        f.store.set("rq:suspended", 1)
        await worker.claim(1, 0)
        (rq_worker,) = Worker.all(connection=f.store)
        assert rq_worker.get_state() == "suspended"

    fleet(story)


def info(f, *more):
    command = [sys.executable, "-W", "ignore", "-m", "rq.cli", "info", "--url", f.url, "--raw", *more]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_rq_info_tells_the_truth_and_changes_nothing_between_a_lease_end_and_its_reaping(fleet):
    async def story(f):
        worker, _ = await started(f)
        await f.accept("job-00002")
        await f.accept("job-00003")
        await f.settle(worker, await f.claim(worker), Fall(HoldReason.OUTAGE, "away"))
        f.clock.now += 60  # the lease of the first has ended, and no worker has reaped it
        before = f.dump()
        text = info(f)
        assert f.dump() == before
        assert f"queue {QUEUE} 1, 1 executing, 0 finished, 0 failed" in text
        assert "worker worker-a" in text
        info(f, "--by-queue")
        StartedJobRegistry(QUEUE, connection=f.store, serializer=JSONSerializer).cleanup()
        assert f.dump() == before

    fleet(story)


@pytest.mark.parametrize(("reach", "status", "registry", "queue"), STATES)
def test_rqs_clean_up_moves_nothing(fleet, reach, status, registry, queue):
    from rq.registry import clean_registries

    async def story(f):
        f.clock.now = time.time()  # rq reads the time of the machine
        await reach(f)
        f.clock.now += 60
        before = f.dump()
        for q in Queue.all(connection=f.store, serializer=JSONSerializer):
            clean_registries(q)
        for registry_ in ("canceled", "scheduled"):
            getattr(Queue(queue, connection=f.store), f"{registry_}_job_registry").get_job_ids()
        assert f.dump() == before

    fleet(story)


def test_rq_worker_suspend_and_resume_reach_our_workers(fleet):
    from rq.suspension import resume, suspend

    async def story(f):
        await queued(f)
        worker = await f.worker()
        suspend(f.store)
        assert (await worker.claim(1, 0)).state == "suspended"
        resume(f.store)
        assert (await f.claim(worker)).id == JOB

    fleet(story)
