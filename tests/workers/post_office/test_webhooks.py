"""Webhooks of producers on real HTTP: what arrives, and what is tried again."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging

import pytest

from openfall.router_core.degrading.policy import HoldReason
from openfall.router_core.jobs.envelope import pack_result
from openfall.router_core.jobs.outcome import Attempt, ErrorClass
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state import outbox
from openfall.workers.outbox.dispatcher import AT_ONCE
from openfall.workers.outbox.url_policy import UrlPolicy
from tests.faults import answer, fault_server, reset, stall
from tests.workers.post_office.stage import DONE, INTERIM, JOB, SECRET, TOKEN


def test_a_result_is_posted_signed_and_whole(house):
    async def story(f, server):
        attempts = (Attempt(model="smol", backend="box", started_at=1, ended_at=2, cost_usd=0.5),)
        body = {"message": {"content": "lanterns"}}
        f.job(server.url, Result(id=JOB, status=Status.ANSWERED, attempts=attempts, body=body, took=2.5),
              reply_to='{"channel": "7"}')  # fmt: skip
        await f.round()
        (asked,) = server.asked
        assert asked.path == f"/{TOKEN}"
        told = json.loads(asked.body)
        assert (told["type"], told["timestamp"]) == ("job.answered", "2027-01-15T08:00:00.000Z")
        data = told["data"]
        assert (data["id"], data["status"], data["text"], data["model_used"]) == (JOB, "answered", "lanterns", "smol")
        assert (data["reply_to"], data["final"], data["cost_usd"], data["latency_ms"]) == (
            {"channel": "7"}, True, 0.5, 2500)  # fmt: skip
        head = asked.headers
        signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + asked.body
        digest = base64.b64encode(hmac.digest(SECRET.encode(), signed, "sha256")).decode()
        assert head["webhook-signature"] == f"v1,{digest}"
        assert f.waits() == {}
        assert not f.store.keys("of:posting:*")

    house(story)


@pytest.mark.parametrize("status", [Status.FAILED, Status.EXPIRED, Status.CANCELLED, Status.DEGRADED])
def test_every_end_of_a_job_is_posted_under_its_name(house, status):
    async def story(f, server):
        f.job(server.url, Result(id=JOB, status=status, error=ErrorClass.TIMEOUT, detail="its deadline passed"))
        await f.round()
        (told,) = [json.loads(asked.body) for asked in server.asked]
        assert (told["type"], told["data"]["detail"]) == (f"job.{status}", "its deadline passed")

    house(story)


def test_an_interim_reply_is_posted_and_is_not_the_last_word(house):
    async def story(f, server):
        reply = Result(id=JOB, status=Status.DEGRADED, body={"message": {"content": "later"}},
                       held_for=HoldReason.OUTAGE)  # fmt: skip
        held = int(f.time[0] * 1000)
        f.store.hset(f"of:job:{JOB}", mapping={
            "webhook": server.url, "reply": pack_result(reply), "held_at": held})  # fmt: skip
        f.put(INTERIM)
        await f.round()
        f.store.hset(f"of:job:{JOB}", "held_at", held + 60000)
        f.put(INTERIM)
        await f.round()
        first, second = server.asked
        told = json.loads(first.body)
        assert (told["type"], told["data"]["final"], told["data"]["held_for"], told["data"]["text"]) == (
            "job.degraded", False, "outage", "later")  # fmt: skip
        assert first.headers["webhook-id"] != second.headers["webhook-id"], "it was held once more"

    house(story)


def test_an_interim_reply_of_a_job_that_went_on_is_not_posted_any_more(house):
    async def story(f, server):
        f.store.hset(f"of:job:{JOB}", mapping={"webhook": server.url, "state": "queued"})
        f.put(INTERIM)
        await f.round()
        assert (server.asked, f.waits()) == ([], {})

    house(story)


def test_a_post_in_vain_is_tried_again_by_the_schedule_with_the_same_id_and_then_given_up(house, caplog):
    async def story(f, server):
        f.job(server.url)
        for wait in (5, 300, 1800, 7200, 18000, 36000, 36000):
            await f.round()
            assert f.waits() == {DONE: wait}
            f.time[0] += wait
        await f.round()
        assert (f.waits(), f.given_up()) == ({}, 1)
        (lost,) = await outbox.list_dead_letters(f.link)
        assert (lost.entry, lost.host, lost.why, lost.tries) == (DONE, server.url[7:], "HTTP 500", 8)
        assert len({asked.headers["webhook-id"] for asked in server.asked}) == 1
        assert len({asked.headers["webhook-timestamp"] for asked in server.asked}) == 8
        assert len({asked.body for asked in server.asked}) == 1

    house(story, answer({}, 500))
    (error,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert JOB in error
    assert "127.0.0.1" in error
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("script", "wait"),
    [(answer({}, 429, retry_after="42"), 42), (answer({}, 503, retry_after="999999"), 3600),
     (answer({}, 302, Location="http://127.0.0.1:1/"), 5), (reset, 5)],
    ids=["it asks for a while", "for too long", "a redirect", "no answer"],
)  # fmt: skip
def test_a_server_s_wish_is_honoured_and_a_redirect_is_not_followed(house, script, wait):
    async def story(f, server):
        f.job(server.url)
        await f.round()
        assert f.waits() == {DONE: wait}
        assert len(server.asked) == 1

    house(story, script)


def test_who_says_410_is_not_asked_again(house):
    async def story(f, server):
        f.job(server.url)
        await f.round()
        assert (f.waits(), f.given_up()) == ({}, 1)

    house(story, answer({}, 410))


def test_an_address_within_is_told_once_with_the_remedy_and_tried_again_in_case_the_rules_change(house, caplog):
    async def story(f, server):
        f.job(server.url.replace("http:", "https:"))
        for _ in range(3):
            await f.round()
            f.time[0] += max(f.waits().values())
        assert server.asked == []
        assert list(f.waits()) == [DONE]

    house(story, rules=UrlPolicy())
    (error,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "set `webhooks: private: yes`" in error
    assert TOKEN not in caplog.text


def test_a_result_that_was_forgotten_before_it_could_be_delivered_is_given_up(house):
    async def story(f, server):
        f.job(server.url)
        await f.round()
        f.store.delete(f"of:result:{JOB}", f"of:job:{JOB}")
        f.time[0] += 5
        await f.round()
        assert (f.waits(), f.given_up(), len(server.asked)) == ({}, 1, 1)

    house(story, answer({}, 500))


@pytest.mark.parametrize("left", [(), ("record",)], ids=["nothing is left", "its record is left"])
def test_a_result_that_was_forgotten_before_any_try_is_given_up_too(house, left):
    async def story(f, server):
        f.job(server.url, state="done")
        f.store.delete(f"of:result:{JOB}", *(() if left else (f"of:job:{JOB}",)))
        await f.round()
        assert (f.waits(), f.given_up(), server.asked) == ({}, 1, [])
        (lost,) = await outbox.list_dead_letters(f.link)
        assert (lost.why, lost.tries, lost.host) == ("its result has passed its time", 0, "")

    house(story)


def test_the_end_of_a_job_that_goes_on_again_is_neither_posted_nor_counted_as_given_up(house):
    async def story(f, server):
        f.job(server.url, state="done")
        await f.round()
        f.store.delete(f"of:result:{JOB}")
        f.store.hset(f"of:job:{JOB}", "state", "queued")
        f.time[0] += 5
        await f.round()
        assert (f.waits(), f.given_up(), len(server.asked)) == ({}, 0, 1)

    house(story, answer({}, 500))


def test_a_result_of_a_newer_openfall_is_left_to_its_workers(house, caplog):
    async def story(f, server):
        f.job(server.url)
        f.store.set(f"of:result:{JOB}", b'{"v": 99, "status": "answered"}')
        await f.round()
        assert (f.waits(), server.asked) == ({DONE: 60}, [])

    house(story)
    assert "schema 99" in caplog.text


def test_a_host_that_hangs_holds_up_no_other(house):
    async def story(f, server):
        async with fault_server(stall) as hanging:
            for number in range(AT_ONCE - 1):
                f.job(hanging.url, job_id=f"hanging-{number}")
            f.job(server.url)
            await f.office.round()
            async with asyncio.timeout(5):
                while DONE in f.waits():
                    await asyncio.sleep(0.01)
            assert len(f.waits()) == AT_ONCE - 1

    house(story)


def test_a_host_that_is_silent_is_left_alone_and_that_costs_no_try(house):
    async def story(f, server):
        for number in range(3 * AT_ONCE):
            f.job("http://127.0.0.1:1", job_id=f"silent-{number:02}")
        await f.round()
        tries = [int(f.store.hget(f"of:posting:{entry}", "tries") or 0) for entry in f.waits()]
        assert 1 <= sum(tries) <= AT_ONCE
        assert len(tries) == 3 * AT_ONCE
        assert min(f.waits().values()) > 0
        f.job(server.url)
        await f.round()
        assert len(server.asked) == 1

    house(story)


def test_a_burst_is_posted_in_one_round(house):
    async def story(f, server):
        for number in range(100):
            f.job(server.url, job_id=f"burst-{number:03}")
        await f.round()
        assert (len(server.asked), f.waits()) == (100, {})

    house(story)


def test_nothing_is_posted_unsigned(house, caplog):
    async def story(f, server):
        f.job(server.url)
        f.incident("outage", "webhook")
        await f.round()
        assert server.asked == []
        assert f.waits() == {DONE: 5}

    house(story, secret=None, webhook="{url}")
    assert "set `webhooks: secret`" in caplog.text


def test_what_nobody_knows_is_taken_out(house, caplog):
    async def story(f, server):
        f.put("parcel:x")
        f.put("notice:pager:outage-1:began")
        await f.round()
        assert f.waits() == {}

    house(story)
    assert "parcel:x: nobody knows what that is" in caplog.text
