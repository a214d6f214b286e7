"""Webhooks of producers on real HTTP: what arrives, and what is tried again."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging

import pytest

from openfall.router_core.jobs.envelope import pack_result
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state import outbox
from openfall.router_core.vocabulary import ErrorClass, HoldReason
from openfall.workers.outbox.dispatcher import MAX_CONCURRENT_DELIVERIES, UNREADABLE_RETRY_SECONDS
from openfall.workers.outbox.retry_schedule import NOTICE_GIVE_UP_SECONDS
from openfall.workers.outbox.webhook_url_check import UrlPolicy
from tests.faults import answer, fault_server, raw, reset, stall
from tests.workers.outbox.dispatcher_harness import DONE, INTERIM, JOB, SECRET, TOKEN


def test_a_result_is_posted_complete_and_signed(dispatching):
    async def story(harness, server):
        attempts = (Attempt(model="smol", backend="box", started_at=1, ended_at=2, cost_nusd=500000000),)
        body = {"message": {"content": "lanterns"}}
        harness.add_job(server.url, Result(id=JOB, status=Status.ANSWERED, attempts=attempts, body=body, took=2.5),
              reply_to='{"channel": "7"}')  # fmt: skip
        await harness.run()
        (call,) = server.calls_received
        assert call.path == f"/{TOKEN}"
        event = json.loads(call.body)
        assert (event["type"], event["timestamp"]) == ("job.answered", "2027-01-15T08:00:00.000Z")
        data = event["data"]
        assert (data["id"], data["status"], data["text"], data["model_used"]) == (JOB, "answered", "lanterns", "smol")
        assert (data["reply_to"], data["final"], data["cost_usd"], data["latency_ms"]) == (
            {"channel": "7"}, True, 0.5, 2500)  # fmt: skip
        head = call.headers
        signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + call.body
        digest = base64.b64encode(hmac.digest(SECRET.encode(), signed, "sha256")).decode()
        assert head["webhook-signature"] == f"v1,{digest}"
        assert harness.delays() == {}
        assert not harness.store.keys("of:outbox-entry:*")

    dispatching(story)


@pytest.mark.parametrize("status", [Status.FAILED, Status.EXPIRED, Status.CANCELLED, Status.DEGRADED])
def test_the_event_type_names_the_terminal_status(dispatching, status):
    async def story(harness, server):
        harness.add_job(
            server.url, Result(id=JOB, status=status, error=ErrorClass.TIMEOUT, detail="its deadline passed")
        )
        await harness.run()
        (event,) = [json.loads(call.body) for call in server.calls_received]
        assert (event["type"], event["data"]["detail"]) == (f"job.{status}", "its deadline passed")

    dispatching(story)


def test_an_interim_reply_is_posted_as_not_final(dispatching):
    async def story(harness, server):
        reply = Result(id=JOB, status=Status.DEGRADED, body={"message": {"content": "later"}},
                       held_for=HoldReason.OUTAGE)  # fmt: skip
        held = int(harness.time[0] * 1000)
        harness.store.hset(f"of:job:{JOB}", mapping={
            "webhook": server.url, "reply": pack_result(reply), "held_at": held})  # fmt: skip
        harness.add_entry(INTERIM)
        await harness.run()
        harness.store.hset(f"of:job:{JOB}", "held_at", held + 60000)
        harness.add_entry(INTERIM)
        await harness.run()
        first, second = server.calls_received
        event = json.loads(first.body)
        assert (event["type"], event["data"]["final"], event["data"]["held_for"], event["data"]["text"]) == (
            "job.degraded", False, "outage", "later")  # fmt: skip
        assert first.headers["webhook-id"] != second.headers["webhook-id"], "it was held once more"

    dispatching(story)


def test_the_interim_reply_of_a_requeued_job_is_not_posted(dispatching):
    async def story(harness, server):
        harness.store.hset(f"of:job:{JOB}", mapping={"webhook": server.url, "state": "queued"})
        harness.add_entry(INTERIM)
        await harness.run()
        assert (server.calls_received, harness.delays()) == ([], {})

    dispatching(story)


def test_a_failed_delivery_is_retried_on_schedule_with_the_same_id_and_then_given_up(dispatching, caplog):
    async def story(harness, server):
        harness.add_job(server.url)
        for wait in (5, 300, 1800, 7200, 18000, 36000, 36000):
            await harness.run()
            assert harness.delays() == {DONE: wait}
            harness.time[0] += wait
        await harness.run()
        assert (harness.delays(), harness.dead_count()) == ({}, 1)
        (dead,) = await outbox.list_dead_letters(harness.link)
        assert (dead.entry, dead.host, dead.why, dead.tries) == (DONE, server.url[7:], "HTTP 500", 8)
        assert len({call.headers["webhook-id"] for call in server.calls_received}) == 1
        assert len({call.headers["webhook-timestamp"] for call in server.calls_received}) == 8
        assert len({call.body for call in server.calls_received}) == 1

    dispatching(story, answer({}, 500))
    (error,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert JOB in error
    assert "127.0.0.1" in error
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("script", "wait"),
    [(answer({}, 429, retry_after="42"), 42), (answer({}, 503, retry_after="999999"), 3600),
     (answer({}, 302, Location="http://127.0.0.1:1/"), 5), (reset, 5)],
    ids=["a pause", "a pause that is too long", "a redirect", "no answer"],
)  # fmt: skip
def test_retry_after_is_honoured_and_a_redirect_is_not_followed(dispatching, script, wait):
    async def story(harness, server):
        harness.add_job(server.url)
        await harness.run()
        assert harness.delays() == {DONE: wait}
        assert len(server.calls_received) == 1

    dispatching(story, script)


def test_a_410_ends_the_retries(dispatching):
    async def story(harness, server):
        harness.add_job(server.url)
        await harness.run()
        assert (harness.delays(), harness.dead_count()) == ({}, 1)

    dispatching(story, answer({}, 410))


def test_a_refused_address_is_logged_once_with_the_remedy_and_retried(dispatching, caplog):
    async def story(harness, server):
        harness.add_job(server.url.replace("http:", "https:"))
        for _ in range(3):
            await harness.run()
            harness.time[0] += max(harness.delays().values())
        assert server.calls_received == []
        assert list(harness.delays()) == [DONE]

    dispatching(story, url_policy=UrlPolicy())
    (error,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "set `webhooks: private: yes`" in error
    assert TOKEN not in caplog.text


def test_an_entry_whose_result_expired_between_retries_is_given_up(dispatching):
    async def story(harness, server):
        harness.add_job(server.url)
        await harness.run()
        harness.store.delete(f"of:result:{JOB}", f"of:job:{JOB}")
        harness.time[0] += 5
        await harness.run()
        assert (harness.delays(), harness.dead_count(), len(server.calls_received)) == ({}, 1, 1)

    dispatching(story, answer({}, 500))


@pytest.mark.parametrize("left", [(), ("record",)], ids=["nothing is left", "its record is left"])
def test_an_entry_whose_result_expired_before_the_first_attempt_is_given_up(dispatching, left):
    async def story(harness, server):
        harness.add_job(server.url, state="done")
        harness.store.delete(f"of:result:{JOB}", *(() if left else (f"of:job:{JOB}",)))
        await harness.run()
        assert (harness.delays(), harness.dead_count(), server.calls_received) == ({}, 1, [])
        (dead,) = await outbox.list_dead_letters(harness.link)
        assert (dead.why, dead.tries, dead.host) == ("its result has expired", 0, "")

    dispatching(story)


def test_the_result_of_a_replayed_job_is_neither_posted_nor_counted_as_given_up(dispatching):
    async def story(harness, server):
        harness.add_job(server.url, state="done")
        await harness.run()
        harness.store.delete(f"of:result:{JOB}")
        harness.store.hset(f"of:job:{JOB}", "state", "queued")
        harness.time[0] += 5
        await harness.run()
        assert (harness.delays(), harness.dead_count(), len(server.calls_received)) == ({}, 0, 1)

    dispatching(story, answer({}, 500))


def test_a_result_of_a_newer_openfall_is_deferred(dispatching, caplog):
    async def story(harness, server):
        harness.add_job(server.url)
        harness.store.set(f"of:result:{JOB}", b'{"v": 99, "status": "answered"}')
        await harness.run()
        assert (harness.delays(), server.calls_received) == ({DONE: 60}, [])

    dispatching(story)
    assert "schema 99" in caplog.text


def test_a_host_that_hangs_holds_up_no_other_host(dispatching):
    async def story(harness, server):
        async with fault_server(stall) as hanging:
            for number in range(MAX_CONCURRENT_DELIVERIES - 1):
                harness.add_job(hanging.url, job_id=f"hanging-{number}")
            harness.add_job(server.url)
            await harness.dispatcher.dispatch()
            async with asyncio.timeout(60):
                while DONE in harness.delays():
                    await asyncio.sleep(0.01)
            assert len(harness.delays()) == MAX_CONCURRENT_DELIVERIES - 1

    dispatching(story)


def test_a_silent_host_is_paused_and_the_pause_costs_no_try(dispatching):
    async def story(harness, server):
        for number in range(3 * MAX_CONCURRENT_DELIVERIES):
            harness.add_job("http://127.0.0.1:1", job_id=f"silent-{number:02}")
        await harness.run()
        tries = [int(harness.store.hget(f"of:outbox-entry:{entry}", "tries") or 0) for entry in harness.delays()]
        assert 1 <= sum(tries) <= MAX_CONCURRENT_DELIVERIES
        assert len(tries) == 3 * MAX_CONCURRENT_DELIVERIES
        assert min(harness.delays().values()) > 0
        harness.add_job(server.url)
        await harness.run()
        assert len(server.calls_received) == 1

    dispatching(story)


def test_a_burst_is_delivered_in_one_dispatch(dispatching):
    async def story(harness, server):
        for number in range(100):
            harness.add_job(server.url, job_id=f"burst-{number:03}")
        await harness.run()
        assert (len(server.calls_received), harness.delays()) == (100, {})

    dispatching(story)


def test_no_webhook_is_posted_unsigned(dispatching, caplog):
    async def story(harness, server):
        harness.add_job(server.url)
        harness.add_incident("outage", "webhook")
        await harness.run()
        assert server.calls_received == []
        assert harness.delays() == {DONE: 5}

    dispatching(story, secret=None, webhook="{url}")
    assert "set `webhooks: secret`" in caplog.text


def test_an_entry_of_an_unknown_kind_is_left_to_a_newer_worker_and_dead_after_three_days(dispatching, caplog):
    async def story(harness, server):
        harness.add_entry("parcel:x")
        harness.add_entry("notice:pager:outage-1:began")
        for _ in range(2):
            await harness.run()
            assert harness.delays() == {"parcel:x": UNREADABLE_RETRY_SECONDS}
            harness.time[0] += UNREADABLE_RETRY_SECONDS
        harness.time[0] += NOTICE_GIVE_UP_SECONDS
        await harness.run()
        assert (harness.delays(), harness.dead_count()) == ({}, 1)

    dispatching(story)
    assert caplog.text.count("parcel:x: unknown kind of outbox entry") == 1


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{",
    ],
    ids=["a broken chunk", "a body of a 204", "a body that breaks off"],
)
def test_a_2xx_is_a_delivery_whatever_its_body_does(dispatching, response):
    async def story(harness, server):
        harness.add_job(server.url)
        await harness.run()
        assert (len(server.calls_received), harness.delays()) == (1, {})

    dispatching(story, raw(response))
