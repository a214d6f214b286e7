"""The worker's loop: the outcome of each claimed job, and of the jobs in flight when the worker stops."""

import asyncio
import logging

import pytest
import redis

from openfall.router_core.jobs.result import Status
from openfall.router_core.state import job_events, keys
from openfall.router_core.state.errors import MemoryPressure, StoreUnreachable
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_subscription import BackendCapacity
from openfall.router_core.vocabulary import ErrorClass, Urgency
from openfall.workers.worker import StopMode
from tests.faults import COMPLETION, answer, drip_events, piece, stall
from tests.faults import events as streamed


def test_a_job_is_answered_by_its_model(working):
    async def story(bench, _):
        result = await bench.result(await bench.accept("large", reason="first in its chain"))
        assert (result.status, result.text) == (Status.ANSWERED, "A lantern festival.")
        assert (result.model, result.backend, result.reason) == ("large", "box", "first in its chain")
        assert (result.input_tokens, result.output_tokens) == (41, 5)
        assert b'"model":"large"' in bench.upstream.calls_received[0].body

    working(story, answer(COMPLETION))


def test_a_failed_call_is_handed_to_the_next_model_and_both_attempts_are_recorded(working):
    async def story(bench, _):
        job = await bench.accept(chain=("small", "large"), urgency=Urgency.INTERACTIVE)
        result = await bench.result(job)
        assert [attempt.model for attempt in result.attempts] == ["small", "large"]
        assert (result.attempts[0].error, result.fallback_used) == (ErrorClass.OVERLOADED, True)

    working(story, answer({"error": {"message": "busy"}}, 503), answer(COMPLETION))


def test_a_failed_model_is_retried_after_its_backoff(working):
    async def story(bench, _):
        job = await bench.accept("small")
        result = await bench.result(job)
        first, second = result.attempts
        assert second.started_at - first.ended_at >= 0.7  # a second, less at most a quarter
        kinds = [event["event"] for event in await job_events.read_events(bench.link, job)]
        assert kinds == ["queued", "started", "scheduled", "started", "done"]

    working(story, answer({"error": "oops"}, 500), answer(COMPLETION))


def test_a_request_that_every_model_refuses_fails_with_the_first_refusal(working):
    async def story(bench, _):
        result = await bench.result(await bench.accept(chain=("small", "large")))
        assert (result.status, result.error, len(result.attempts)) == (Status.FAILED, ErrorClass.BAD_REQUEST, 2)
        assert result.detail == "HTTP 400: messages: must be a list"

    refusals = ("messages: must be a list", "messages: not a list")
    working(story, *(answer({"error": {"message": message}}, 400) for message in refusals))


def test_a_request_that_one_model_refuses_is_answered_by_the_next(working):
    async def story(bench, _):
        result = await bench.result(await bench.accept(chain=("small", "large")))
        assert (result.status, result.model) == (Status.ANSWERED, "large")
        assert result.attempts[0].error is ErrorClass.BAD_REQUEST

    refusal = {"error": {"message": "frequency_penalty: value must be 0", "type": "invalid_request_error"}}
    working(story, answer(refusal, 400), answer(COMPLETION))


def test_a_job_falls_when_no_model_is_left(working):
    async def story(bench, _):
        reason, why = await _fallen(bench, await bench.accept(chain=("small", "large")))
        assert (reason, "small: auth (HTTP 401); large: auth (HTTP 401)" in why) == ("outage", True)

    working(story, answer({}, 401), answer({}, 401))


async def _fallen(bench, job) -> tuple[str, str]:
    """The reason and detail of a job's fall, once it waits for the degrade worker."""
    async with asyncio.timeout(60):
        while (await bench.intake.record(job)).queue != "degrade":
            await asyncio.sleep(0.01)
    reason, why = await bench.link.command("HMGET", f"of:job:{job}", "fell_for", "fell_why")
    return reason.decode(), why.decode()


def test_an_answer_is_streamed(working):
    async def story(bench, _):
        job = await bench.accept("small", stream=True)
        result = await bench.result(job)
        events = await job_events.read_events(bench.link, job)
        assert "".join(event["text"] for event in events if event["event"] == "delta") == "Lanterns, everywhere."
        assert result.text == "Lanterns, everywhere."

    working(story, streamed(piece(content="Lanterns, "), piece(content="everywhere."), piece(finish="stop")))


def test_more_jobs_than_slots_are_all_answered(working):
    async def story(bench, _):
        jobs = [await bench.accept("small", urgency=urgency) for urgency in [*Urgency] * 10]
        for job in jobs:
            assert (await bench.result(job)).answered
        assert len(bench.upstream.calls_received) == len(jobs)

    working(story, answer(COMPLETION), slots=2)


def test_a_worker_reserves_slots_for_interactive_jobs_as_its_backend_does(working):
    async def story(bench, _):
        others = [await bench.accept(urgency=Urgency.BATCH) for _ in range(5)]
        await bench.until(lambda: _is(bench, others[1], "started"))
        urgent = await bench.accept(urgency=Urgency.INTERACTIVE)
        await bench.until(lambda: _is(bench, urgent, "started"))
        assert [await bench.state(job) for job in others] == ["started"] * 2 + ["queued"] * 3

    working(story, stall, slots=3, box=BackendCapacity("box", 9, (), 1))


@pytest.mark.usefixtures("roomy")
def test_a_worker_reports_memory_pressure_and_its_end(working, redis_url):
    async def story(bench, _):
        with redis.Redis.from_url(redis_url) as store:
            store.setrange("filler", 32 << 20, b"x")  # the margin is larger than what the worker itself needs
            store.config_set("maxmemory", int(store.info("memory")["used_memory"] / 0.92))
            await bench.until(lambda: _under_pressure(bench))
            with pytest.raises(MemoryPressure):
                await bench.accept()
            store.config_set("maxmemory", 0)
            await bench.until(lambda: _under_pressure(bench, False))
            assert (await bench.result(await bench.accept())).answered

    working(story, answer(COMPLETION))


async def _under_pressure(bench, so=True):
    return bool(await bench.link.command("EXISTS", keys.MEMORY_PRESSURE)) == so


@pytest.fixture
def roomy(redis_url):
    yield
    with redis.Redis.from_url(redis_url) as store:
        store.config_set("maxmemory", 0)


def test_a_cancelled_job_stops_its_call(working):
    async def story(bench, _):
        job = await bench.accept("small", stream=True)
        await bench.upstream.arrived.wait()
        assert await bench.intake.cancel(job)
        await asyncio.wait_for(bench.upstream.left.wait(), 60)
        assert (await bench.result(job)).status is Status.CANCELLED
        assert await bench.link.command("HGET", "of:counters", "late") is None

    working(story, drip_events)


def test_a_draining_worker_finishes_its_calls(working):
    async def story(bench, task):
        release = asyncio.Event()

        async def wait_then_answer(writer):
            await release.wait()
            await answer(COMPLETION)(writer)

        bench.upstream.scripts[:] = [wait_then_answer]
        job = await bench.accept("small")
        await bench.upstream.arrived.wait()
        later = await _stopped_claiming(bench)
        release.set()
        await asyncio.wait_for(task, 60)
        assert (await bench.result(job)).answered
        assert await bench.state(later) == "queued"

    working(story, stall)


def test_a_worker_that_stops_at_once_puts_its_jobs_back_unchanged(working):
    async def story(bench, task):
        job = await bench.accept("small")
        await bench.upstream.arrived.wait()
        bench.worker.stop(StopMode.DRAIN)
        bench.worker.stop(StopMode.NOW)
        await asyncio.wait_for(task, 60)
        record = await bench.intake.record(job)
        assert (record.state, record.deliveries, record.crashes, record.attempts) == ("queued", 0, 0, ())

    working(story, stall)


def test_a_burst_ends_when_no_job_is_left(working):
    async def story(bench, task):
        await asyncio.wait_for(task, 60)
        assert await bench.link.command("ZCARD", "of:unfinished") == 0

    working(story, answer(COMPLETION), burst=True)


def test_a_suspended_worker_claims_no_job_until_it_is_resumed(working):
    async def story(bench, _):
        await bench.link.command("SET", "rq:suspended", 1)
        await bench.until(lambda: _worker_is(bench, b"suspended"))
        job = await bench.accept("small")
        assert await bench.state(job) == "queued"
        await bench.link.command("DEL", "rq:suspended")
        assert (await bench.result(job)).answered

    working(story, answer(COMPLETION))


def test_an_internal_error_costs_neither_the_job_nor_the_worker(working, monkeypatch, caplog):
    async def story(bench, _):
        job = await bench.accept("small", chain=("small", "small"))
        monkeypatch.setattr("openfall.workers.execution.executor.decide", _broken)
        assert await _fallen(bench, job) == ("poisoned", "internal error in openfall: ZeroDivisionError")
        monkeypatch.undo()
        assert (await bench.result(await bench.accept("small"))).answered

    with caplog.at_level(logging.ERROR):
        working(story, answer(COMPLETION))
    assert "ZeroDivisionError" in caplog.text


def test_a_settlement_that_redis_cannot_accept_is_spooled_and_delivered(working, monkeypatch):
    async def story(bench, _):
        settle = WorkerQueue.settle
        broken = {"times": 1}

        async def fails_once(queue, settlement):
            if broken["times"]:
                broken["times"] -= 1
                raise StoreUnreachable("away")
            return await settle(queue, settlement)

        monkeypatch.setattr(WorkerQueue, "settle", fails_once)
        job = await bench.accept("small")
        assert (await bench.result(job)).answered
        assert len(bench.upstream.calls_received) == 1
        await bench.until(lambda: _spool_is_empty(bench))

    working(story, answer(COMPLETION))


def test_a_full_disk_while_redis_is_away_is_logged_and_costs_no_job(working, monkeypatch, caplog):
    async def story(bench, _):
        async def away(*_):
            raise StoreUnreachable("away")

        bench.spool.directory.write_text("a file where the spool should be")  # as unwritable as a full disk
        monkeypatch.setattr(WorkerQueue, "settle", away)
        job = await bench.accept("small")
        await bench.until(lambda: _is_logged(caplog, "neither Redis (away) nor "))
        assert await bench.state(job) == "started"
        monkeypatch.undo()
        assert (await bench.result(await bench.accept("small"))).answered

    with caplog.at_level(logging.ERROR):
        working(story, answer(COMPLETION), housekeeping=False)


def test_a_worker_that_lost_a_lease_settles_nothing(working):
    async def story(bench, _):
        job = await bench.accept("small", stream=True)
        await bench.upstream.arrived.wait()
        bench.worker.runner.abandon(job)
        await asyncio.wait_for(bench.upstream.left.wait(), 60)
        assert await bench.state(job) == "started"

    working(story, drip_events, housekeeping=False)


@pytest.mark.parametrize("command", ["shutdown", "stop-job"])
def test_rq_commands_are_obeyed(working, redis_url, command):
    async def story(bench, task):
        job = await bench.accept("small", stream=True)
        await bench.upstream.arrived.wait()
        await bench.until(lambda: _listens(bench))
        await asyncio.to_thread(_send_rq_command, redis_url, command, job)
        if command == "shutdown":
            await asyncio.wait_for(task, 60)
            assert await bench.state(job) == "queued"
        else:
            result = await bench.result(job)
            assert (result.status, result.detail) == (Status.CANCELLED, "stopped by an rq command")

    working(story, drip_events, grace_seconds=0.2)


def _send_rq_command(url, command, job):
    from redis import Redis
    from rq.command import send_shutdown_command, send_stop_job_command
    from rq.worker import Worker

    with Redis.from_url(url) as connection:
        if command == "shutdown":
            send_shutdown_command(connection, Worker.all(connection=connection)[0].name)
        else:
            send_stop_job_command(connection, job, serializer="json")


def _broken(*_):
    raise ZeroDivisionError


async def _is(bench, job, state):
    return await bench.state(job) == state


async def _worker_is(bench, state):
    return await bench.link.command("HGET", "rq:worker:of-gpu-here-1-abc", "state") == state


async def _listens(bench):
    return (await bench.link.command("PUBSUB", "NUMSUB", "rq:pubsub:of-gpu-here-1-abc"))[1] == 1


async def _is_logged(caplog, words):
    return words in caplog.text


async def _spool_is_empty(bench):
    return not list(bench.spool.pending())


async def _stopped_claiming(bench):
    """Drain the worker, then accept a job that it will not claim."""
    bench.worker.stop(StopMode.DRAIN)
    return await bench.accept("small")
