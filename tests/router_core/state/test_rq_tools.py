"""What rq's tools do to our jobs: each still ends in one place, and the dashboard shows where."""

from __future__ import annotations

import pytest
import redis
from rq import Worker
from rq.serializers import JSONSerializer

from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.jobs import end_job
from openfall.router_core.state.reap_and_sweep import sweep
from openfall.router_core.vocabulary import ErrorClass
from tests.router_core.state.job_states import (
    JOB,
    QUEUE,
    SECRET,
    STATES,
    fetch,
    held,
    queued,
    registries,
    scheduled,
    started,
    suspected,
)


async def swept(f):
    """What a worker does with what its sweep finds. Returns why each was found."""
    _, jobs = await sweep(f.link, clean=False)
    for lost in jobs:
        result = Result(id=lost.id, status=Status.CANCELLED, error=ErrorClass.CANCELLED, detail=lost.cause)
        await end_job(f.link, result, rq_status="canceled", expected_deliveries=lost.deliveries)
    return [lost.cause for lost in jobs]


@pytest.mark.parametrize("reach", [queued, started, scheduled, suspected, held])
def test_rqs_own_cancel_ends_a_job(fleet, reach):
    async def story(f):
        await reach(f)
        fetch(f).cancel()
        f.clock.now += 60
        worker = await f.worker("other")
        assert (await worker.claim(1, 0)).deliveries == (), "not even before the sweep"
        assert await swept(f) == ["cancelled"]
        assert (await f.job_store.result(JOB)).status is Status.CANCELLED
        assert fetch(f).get_status() == "canceled"
        assert [kind for kind, _ in f.rq_places(JOB)] == ["canceled"]
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
        assert (await f.job_store.result(JOB)).status is Status.CANCELLED

    fleet(story)


@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_a_call_whose_rq_job_is_cancelled_or_deleted_still_ends_in_one_place(fleet, how):
    async def story(f):
        worker, delivery = await started(f)
        getattr(fetch(f), how)()
        assert await f.settle(worker, delivery) == "settled"
        assert (await f.job_store.result(JOB)).answered
        assert f.rq_places(JOB) == [("finished", QUEUE)]

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
    """A job that must stay local must not leave because its id was pushed elsewhere; nor may it be lost."""

    async def story(f):
        await queued(f)
        f.store.lrem("rq:queue:" + QUEUE, 0, JOB)
        f.store.rpush("rq:queue:gpu.large.background", JOB)
        other = await f.worker("other", queues=("gpu.large.background",))
        assert (await other.claim(1, 0)).deliveries == ()
        assert f.rq_places(JOB) == [("queue", QUEUE)]
        worker = await f.worker()
        await f.settle(worker, await f.claim(worker))
        assert f.rq_places(JOB) == [("finished", QUEUE)]

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


def test_the_dashboard_shows_a_producers_backlog_as_a_queue(fleet, dashboard):
    async def story(f):
        night = await f.enqueue(3, producer="night@host.local")
        (bot,) = await f.enqueue(1, producer="bot")
        backlog = f"{QUEUE}~night@host.local"
        queues = {q["name"]: q["count"] for q in _page(dashboard, "queues.json")["queues"]}
        assert queues == {QUEUE: 2, backlog: 2}
        jobs = _page(dashboard, f"jobs/{QUEUE}/queued/8/asc/1.json")["jobs"]
        assert [job["id"] for job in jobs] == [night[0], bot]
        assert dashboard.get(f"/0/view/jobs/{backlog}/queued/8/asc/1").status_code == 200
        assert _page(dashboard, f"job/{night[1]}.json")["status"] == "queued"

    fleet(story)


def _page(dashboard, path):
    reply = dashboard.get(f"/0/data/{path}")
    assert reply.status_code == 200, path
    return reply.get_json()


@pytest.mark.parametrize("stray", ["popped", "failed by a stock worker"])
def test_a_job_that_another_tool_took_from_its_queue_goes_back(fleet, stray):
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
