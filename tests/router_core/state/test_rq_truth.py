"""What rq's own tools say of our jobs: the truth, in every state, and looking changes nothing."""

from __future__ import annotations

import base64
import contextlib
import os
import pickle
import subprocess
import sys
import zlib

import pytest
import redis
from rq import Queue, Worker
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.results import Result as RqResult
from rq.serializers import JSONSerializer

from router_core.decide import Fall, HoldReason, Later
from router_core.outcome import ErrorClass
from router_core.result import Result, Status
from router_core.state.delivery import LEASE
from router_core.state.intake import end
from router_core.state.rounds import reap, sweep
from workers.ticket import read_ticket

JOB, SECRET, ANSWER = "job-00001", b"the-prompt-nobody-else-may-see", b"the-answer-nobody-else-may-see"
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


async def cancelled(f):
    await started(f)
    await f.intake.cancel(JOB)


async def suspected(f):
    await queued(f)
    for name in ("first", "second"):
        await f.claim(await f.worker(name))
        await f.pass_time(LEASE + 1)
        await reap(f.link)


STATES = [
    pytest.param(queued, "queued", "queued", QUEUE, id="queued"),
    pytest.param(started, "started", "started", QUEUE, id="started"),
    pytest.param(finished, "finished", "finished", QUEUE, id="answered"),
    pytest.param(failed, "failed", "failed", QUEUE, id="failed"),
    pytest.param(scheduled, "scheduled", "scheduled", QUEUE, id="put off"),
    pytest.param(suspected, "scheduled", "scheduled", QUEUE, id="suspected"),
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


@pytest.mark.parametrize(("reach", "status", "registry", "queue"), STATES)
def test_rq_finds_a_job_where_its_status_says(fleet, reach, status, registry, queue):
    async def story(f):
        await reach(f)
        job = fetch(f)
        assert (job.get_status(), job.origin) == (status, queue)
        assert (job.func_name, job.args, job.kwargs) == ("workers.deliver", job.args, {})
        assert list(job.args) == [JOB]
        assert job.description == "chat/background smol"
        assert registries(f, queue) == {name: [JOB] if name == registry else [] for name in registries(f, queue)}
        assert {q.name for q in Queue.all(connection=f.store)} >= {queue}

    fleet(story)


@pytest.mark.parametrize(("reach", "status", "registry", "queue"), STATES)
def test_rq_holds_no_prompt_and_no_answer(fleet, reach, status, registry, queue):
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
        found = [part for pair in f.store.hgetall(key).items() for part in pair]
    elif kind == b"stream":
        found = [part for _, entry in f.store.xrange(key) for pair in entry.items() for part in pair]
    else:
        read = {b"list": f.store.lrange, b"zset": f.store.zrange}
        found = read[kind](key, 0, -1) if kind in read else None
        found = list(f.store.smembers(key)) if kind == b"set" else found if found is not None else [f.store.get(key)]
    for text in found:
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


def test_rq_shows_who_carries_a_job_out(fleet):
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
        (seen,) = Worker.all(connection=f.store)
        assert (seen.name, seen.queue_names(), seen.get_state()) == ("worker-a", [QUEUE], "busy")
        assert seen.pid == os.getpid()
        await f.settle(worker, delivery)
        await worker.beat([])  # counts go with a beat
        await worker.claim(1, 0)
        (seen,) = Worker.all(queue=Queue(QUEUE, connection=f.store))
        assert (seen.get_state(), seen.successful_job_count, seen.failed_job_count) == ("idle", 1, 0)
        f.store.set("rq:suspended", 1)
        await worker.claim(1, 0)
        (seen,) = Worker.all(connection=f.store)
        assert seen.get_state() == "suspended"

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
        f.clock.now += 60  # the lease of the first has ended, and nobody has reaped it
        before = f.dump()
        told = info(f)
        assert f.dump() == before
        assert f"queue {QUEUE} 1, 1 executing, 0 finished, 0 failed" in told
        assert "worker worker-a" in told
        info(f, "--by-queue")
        StartedJobRegistry(QUEUE, connection=f.store, serializer=JSONSerializer).cleanup()
        assert f.dump() == before

    fleet(story)


@pytest.mark.parametrize(("reach", "status", "registry", "queue"), STATES)
def test_rqs_clean_up_moves_nothing(fleet, reach, status, registry, queue):
    from rq.registry import clean_registries

    async def story(f):
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


def ask(f, *args, queue=QUEUE, func="workers.deliver", serializer=JSONSerializer):
    return Queue(queue, connection=f.store, serializer=serializer).enqueue(func, *args)


async def answer_ticket(f, worker):
    """What a worker does with the one ticket that its claim brings."""
    (ticket,) = (await worker.claim(1, 0)).tickets
    job_id, why_not = read_ticket(ticket.data)
    return ticket, await worker.ticket(ticket, job_id, why_not, 600)


def test_plain_rq_can_ask_for_an_accepted_job(fleet):
    async def story(f):
        await queued(f)
        f.store.lrem("rq:queue:" + QUEUE, 0, JOB)
        asking = ask(f, JOB)
        worker = await f.worker()
        ticket, came = await answer_ticket(f, worker)
        assert (ticket.id, ticket.queue, came) == (asking.id, QUEUE, "queued")
        asking = fetch(f, asking.id)
        assert (asking.get_status(), asking.latest_result().type) == ("finished", RqResult.Type.SUCCESSFUL)
        assert registries(f, QUEUE)["finished"] == [asking.id]
        assert await worker.ticket(ticket, JOB, "", 600) == "again"

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
        assert f.places("job-00003") == [("queue", QUEUE)]
        assert f.store.lrange("rq:queue:" + QUEUE, 0, -1) == [b"job-00002", b"job-00003"]

    fleet(story)


@pytest.mark.parametrize("reach", [failed, held])
def test_asking_for_a_failed_or_held_job_runs_it_again_and_its_story_stays(fleet, reach):
    async def story(f):
        await reach(f)
        ask(f, JOB)
        worker = await f.worker("asked")
        assert (await answer_ticket(f, worker))[1] == "queued"
        assert f.places(JOB) == [("queue", QUEUE)]
        assert fetch(f).get_status() == "queued"
        assert await f.intake.result(JOB) is None
        assert {f.store.ttl(key) for key in f.store.keys(f"*{JOB}")} == {-1}
        record = await f.intake.record(JOB)
        assert (len(record.attempts), record.job.body) == (1, f.job().body)
        assert JOB.encode() in f.store.zrange("of:open", 0, -1)
        delivery = await f.claim(worker)
        assert delivery.attempts == b""
        await f.settle(worker, delivery)
        assert fetch(f).return_value() == {"status": "answered", "model": "smol"}
        assert f.places(JOB) == [("finished", QUEUE)]

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
        assert (await answer_ticket(f, await f.worker("asked")))[1] == "done"
        assert fetch(f).return_value() == {"status": "answered", "model": "smol"}

    fleet(story)


@pytest.mark.parametrize(
    ("asking", "told"),
    [
        pytest.param({"args": ("job-99999",)}, "no job job-99999", id="an unknown job"),
        pytest.param({"args": ("1",), "func": "os.system"}, "runs 'workers.deliver' and nothing else", id="other work"),
        pytest.param({"args": (JOB, 2)}, "takes one argument", id="too many arguments"),
    ],
)
def test_what_is_refused_fails_with_its_reason(fleet, asking, told):
    async def story(f):
        asking_job = ask(f, *asking["args"], func=asking.get("func", "workers.deliver"))
        assert (await answer_ticket(f, await f.worker()))[1] == "unknown"
        asking_job = fetch(f, asking_job.id)
        assert asking_job.get_status() == "failed"
        assert told in asking_job.latest_result().exc_string
        assert registries(f, QUEUE)["failed"] == [asking_job.id]

    fleet(story)


def test_rqs_own_requeue_of_a_failed_job_runs_it_again(fleet):
    async def story(f):
        await failed(f)
        fetch(f).requeue()
        worker = await f.worker("asked")
        ticket, came = await answer_ticket(f, worker)
        assert (ticket.id, came) == (JOB, "queued")
        assert (f.places(JOB), fetch(f).get_status()) == ([("queue", QUEUE)], "queued")
        await f.settle(worker, await f.claim(worker))
        assert f.places(JOB) == [("finished", QUEUE)]
        assert (await f.intake.result(JOB)).answered

    fleet(story)


def test_rqs_own_requeue_of_what_cannot_run_again_shows_it_as_it_ended(fleet):
    async def story(f):
        await queued(f)
        worker = await f.worker()
        result = Result(id=JOB, status=Status.EXPIRED, error=ErrorClass.TIMEOUT)
        await end(f.link, result, rq_status="failed")
        fetch(f).requeue()
        assert (await answer_ticket(f, worker))[1] == "done"
        assert (f.places(JOB), fetch(f).get_status()) == ([("failed", QUEUE)], "failed")

    fleet(story)


class Exploding:
    def __reduce__(self):
        return (os._exit, (86,))


def test_a_pickle_is_refused_unread(fleet):
    async def story(f):
        job = ask(f, JOB)
        f.store.hset(
            "rq:job:" + job.id, "data", zlib.compress(pickle.dumps(("workers.deliver", None, (Exploding(),), {})))
        )
        assert (await answer_ticket(f, await f.worker()))[1] == "unknown"
        assert "reads no pickles" in fetch(f, job.id).latest_result().exc_string

    fleet(story)


def test_a_ticket_whose_worker_died_is_found_again(fleet):
    async def story(f):
        await queued(f)
        f.store.lrem("rq:queue:" + QUEUE, 0, JOB)
        asking = ask(f, JOB)
        (ticket,) = (await (await f.worker("dead-one")).claim(1, 0)).tickets
        await f.pass_time(LEASE + 1)
        heir = await f.worker("heir")
        await reap(f.link)
        assert registries(f, QUEUE)["queued"] == [asking.id]
        assert (await answer_ticket(f, heir))[0] == ticket

    fleet(story)


def test_a_claim_takes_no_more_tickets_than_it_asked_for(fleet):
    async def story(f):
        for n in range(5):
            ask(f, f"job-0000{n}")
        assert len((await (await f.worker(slots=9)).claim(2, 0)).tickets) == 2

    fleet(story)


async def swept(f):
    """What a worker does with what its sweep finds. Returns why each was found."""
    _, found = await sweep(f.link, clean=False)
    for lost in found:
        result = Result(id=lost.id, status=Status.CANCELLED, error=ErrorClass.CANCELLED, detail=lost.why)
        await end(f.link, result, rq_status="canceled", seen_deliveries=lost.deliveries)
    return [lost.why for lost in found]


@pytest.mark.parametrize("reach", [queued, started, scheduled, suspected, held])
def test_rqs_own_cancel_ends_a_job(fleet, reach):
    async def story(f):
        await reach(f)
        fetch(f).cancel()
        f.clock.now += 60
        worker = await f.worker("other")
        assert (await worker.claim(1, 0)).deliveries == (), "not even before the sweep"
        assert await swept(f) == ["cancelled"]
        assert (await f.intake.result(JOB)).status is Status.CANCELLED
        assert fetch(f).get_status() == "canceled"
        assert [kind for kind, _ in f.places(JOB)] == ["canceled"]
        assert await swept(f) == []

    fleet(story)


@pytest.mark.parametrize("reach", [queued, scheduled, held])
def test_rqs_own_delete_ends_a_job(fleet, reach):
    async def story(f):
        await reach(f)
        fetch(f).delete()
        f.clock.now += 60
        worker = await f.worker("other")
        assert (await worker.claim(1, 0)).deliveries == ()
        assert await swept(f) == ["deleted"]
        assert (await f.intake.result(JOB)).status is Status.CANCELLED

    fleet(story)


@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_a_call_whose_rq_job_is_cancelled_or_deleted_still_ends_in_one_place(fleet, how):
    async def story(f):
        worker, delivery = await started(f)
        getattr(fetch(f), how)()
        assert await f.settle(worker, delivery) == "settled"
        assert (await f.intake.result(JOB)).answered
        assert f.places(JOB) == [("finished", QUEUE)]

    fleet(story)


def test_an_id_that_a_tool_listed_twice_is_delivered_once(fleet):
    async def story(f):
        await queued(f)
        f.store.rpush("rq:queue:" + QUEUE, JOB)
        worker = await f.worker()
        assert [d.id for d in (await worker.claim(4, 0)).deliveries] == [JOB]
        assert registries(f, QUEUE)["queued"] == []

    fleet(story)


def test_an_id_that_a_tool_moved_goes_back_to_the_queue_of_its_record(fleet):
    """A job that must stay local must not leave because somebody pushed its id elsewhere; nor may it be lost."""

    async def story(f):
        await queued(f)
        f.store.lrem("rq:queue:" + QUEUE, 0, JOB)
        f.store.rpush("rq:queue:gpu.large.background", JOB)
        other = await f.worker("other", queues=("gpu.large.background",))
        assert (await other.claim(1, 0)).deliveries == ()
        assert f.places(JOB) == [("queue", QUEUE)]
        worker = await f.worker()
        await f.settle(worker, await f.claim(worker))
        assert f.places(JOB) == [("finished", QUEUE)]

    fleet(story)


@pytest.fixture
def dashboard(redis_url, monkeypatch):
    """rq-dashboard over our Redis, as a test client."""
    import flask
    from rq_dashboard import web

    monkeypatch.setattr(web.config, "serializer", JSONSerializer)
    app = flask.Flask("dashboard")
    app.config.update(RQ_DASHBOARD_REDIS_URL="redis://unused", RQ_DASHBOARD_POLL_INTERVAL=5000, TESTING=True)
    app.redis_conn = redis.Redis.from_url(redis_url)
    monkeypatch.setattr(web, "from_url", lambda url, **_: (None, app.redis_conn))  # it knows no unix sockets
    app.register_blueprint(web.blueprint)
    try:
        yield app.test_client()
    finally:
        app.redis_conn.close()


@pytest.mark.parametrize("state", [state.values for state in STATES], ids=[state.id for state in STATES])
def test_the_dashboard_shows_a_job_where_it_is(fleet, dashboard, state):
    reach, status, registry, queue = state

    async def story(f):
        await reach(f)
        before = f.dump()
        queues = {q["name"]: q for q in _page(dashboard, "queues.json")["queues"]}
        count = "count" if registry == "queued" else f"{registry}_job_registry_count"
        assert queues[queue][count] == 1
        for name in registries(f, queue):
            jobs = _page(dashboard, f"jobs/{queue}/{name}/8/asc/1.json")["jobs"]
            assert [job["id"] for job in jobs] == ([JOB] if name == registry else []), name
        job = _page(dashboard, f"job/{JOB}.json")
        assert (job["id"], job["status"], job["description"]) == (JOB, status, "chat/background smol")
        assert SECRET.decode() not in str(job)
        workers = {worker["name"] for worker in _page(dashboard, "workers.json")["workers"]}
        assert workers == {worker.name for worker in Worker.all(f.store)}
        for page in ("queues", "workers", f"jobs/{queue}/{registry}/8/asc/1", f"job/{JOB}"):
            assert dashboard.get(f"/0/view/{page}", follow_redirects=True).status_code == 200
        assert f.dump() == before

    fleet(story)


def _page(dashboard, path):
    reply = dashboard.get(f"/0/data/{path}")
    assert reply.status_code == 200, path
    return reply.get_json()


@pytest.mark.parametrize("stray", ["popped", "failed by a stock worker"])
def test_a_job_that_something_else_took_from_its_queue_goes_back(fleet, stray):
    async def story(f):
        worker = await f.worker()
        await f.accept()
        assert f.store.lpop(f"rq:queue:{QUEUE}") == b"job-00001"
        if stray != "popped":
            f.store.hset("rq:job:job-00001", "status", "failed")
            f.store.zadd(f"rq:failed:{QUEUE}", {"job-00001": 10**10})
        await sweep(f.link, clean=False)
        assert f.store.lrange(f"rq:queue:{QUEUE}", 0, -1) == [b"job-00001"]
        assert fetch(f).get_status() == "queued"
        assert f.store.zcard(f"rq:failed:{QUEUE}") == 0
        await sweep(f.link, clean=False)
        assert f.store.llen(f"rq:queue:{QUEUE}") == 1
        assert (await f.claim(worker)).id == "job-00001"

    fleet(story)
