"""The post office on a real Valkey and real HTTP: what arrives, what is tried again, and what a kill costs."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from router_core.envelope import pack_result
from router_core.open_fall import HoldReason
from router_core.outcome import Attempt, ErrorClass
from router_core.result import Result, Status
from router_core.state import outbox
from router_core.state.incidents import close
from router_core.state.link import Link
from tests.fakes.discord import DiscordFake, running
from tests.faults import answer, fault_server, reset, stall
from workers.post_office.addresses import TRUSTED, Rules
from workers.post_office.office import AT_ONCE, PostOffice, Terms

ROOT = Path(__file__).resolve().parents[3]
SECRET = "hunter2"
TOKEN = "token-in-the-path"
JOB = "job-00001"
DONE = f"job:{JOB}:done"
INTERIM = f"job:{JOB}:degraded"
OK = answer({})


@dataclass
class House:
    """A post office with a clock of the test's own, and somebody who looks into Redis."""

    link: Link
    office: PostOffice
    store: redis.Redis
    time: list[float]

    async def round(self) -> None:
        await self.office.round()
        await self.office.settle()

    def job(self, url: str, result: Result | None = None, job_id: str = JOB, **fields: Any) -> None:
        """A job that has ended, and its webhook that is due."""
        result = result or Result(id=job_id, status=Status.ANSWERED, body={"message": {"content": "lanterns"}})
        told = {"webhook": f"{url}/{TOKEN}", "ended": int(self.time[0] * 1000), **fields}
        self.store.hset(f"of:job:{job_id}", mapping=told)
        self.store.set(f"of:result:{job_id}", pack_result(result))
        self.put(f"job:{job_id}:done")

    def put(self, entry: str) -> None:
        self.store.zadd("of:outbox", {entry: int(self.time[0] * 1000)}, nx=True)

    def incident(self, reason: str = "outage", *notifiers: str, **fields: Any) -> str:
        """An incident as falls leave it, and the notices of its beginning."""
        now = int(self.time[0] * 1000)
        found = f"{reason}-{now}"
        told = {"reason": reason, "began": now, "last": now, "falls": 2, "held": 2, "ended": "", "version": 2,
                "u:interactive": 2, "m:smol": 2, "c:timeout": 2, "s:canned_reply": 2,
                "notify": "discord,webhook", **fields}  # fmt: skip
        self.store.hset(f"of:incident:{found}", mapping=told)
        self.store.hset("of:incidents", reason, found)
        for notifier in notifiers or ("discord",):
            self.put(f"notice:{notifier}:{found}:began")
        return found

    def waits(self) -> dict[str, float]:
        rows = self.store.zrange("of:outbox", 0, -1, withscores=True)
        return {entry.decode(): round(at / 1000 - self.time[0], 1) for entry, at in rows}

    def given_up(self) -> int:
        return int(self.store.hget("of:counters", "webhook_given_up") or 0)


Story = Callable[..., Awaitable[None]]


@pytest.fixture
def house(redis_url: str) -> Callable[..., None]:
    """`house(story, script, ..., **terms)`: run `story(House, server)` with an HTTP server that answers by the scripts;
    `{url}` in a term is its address."""

    def run(story: Story, *scripts: Any, **terms: Any) -> None:
        async def main() -> None:
            now = [1800000000.0]
            async with AsyncExitStack() as stack:
                server = await stack.enter_async_context(fault_server(*scripts or (OK,)))
                link = await stack.enter_async_context(Link(redis_url, clock=lambda: now[0]))
                store = stack.enter_context(redis.Redis.from_url(redis_url))
                said = {name: value.format(url=server.url) if isinstance(value, str) else value
                        for name, value in terms.items()}  # fmt: skip
                office = PostOffice(
                    link, Terms(**{"rules": TRUSTED, "secret": SECRET, **said}), lambda: 0.5, lambda: now[0]
                )
                stack.push_async_callback(office.close)
                await story(House(link, office, store, now), server)

        asyncio.run(main())

    return run


@pytest.fixture
def channel(redis_url: str) -> Callable[..., None]:
    """`channel(story, **terms)`: run `story(House, DiscordFake)` with a channel to post to."""

    def run(story: Story, **terms: Any) -> None:
        async def main() -> None:
            now = [1800000000.0]
            async with AsyncExitStack() as stack:
                fake = await stack.enter_async_context(running(DiscordFake(clock=lambda: now[0])))
                link = await stack.enter_async_context(Link(redis_url, clock=lambda: now[0]))
                store = stack.enter_context(redis.Redis.from_url(redis_url))
                told = Terms(**{"discord": fake.url + "?thread_id=42", **terms})
                office = PostOffice(link, told, lambda: 0.5, lambda: now[0])
                stack.push_async_callback(office.close)
                await story(House(link, office, store, now), fake)

        asyncio.run(main())

    return run


def fields(embed: dict[str, Any]) -> dict[str, str]:
    return {field["name"]: field["value"] for field in embed["fields"]}


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
        (lost,) = await outbox.given_up(f.link)
        assert (lost.entry, lost.place, lost.why, lost.tries) == (DONE, server.url[7:], "HTTP 500", 8)
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

    house(story, rules=Rules())
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


def test_a_notice_to_a_program_is_signed_and_says_everything_in_words_and_in_numbers(house):
    async def story(f, server):
        incident = f.incident("outage", "webhook", **{"held": 0})
        await f.round()
        update = f"notice:webhook:{incident}:update"
        for _ in range(2):
            f.store.hincrby(f"of:incident:{incident}", "version", 1)
            f.put(update)
            await f.round()
            assert f.waits() == {update: 600}, "as often as new ones"
            f.time[0] += 600
            await f.round()
        assert await close(f.link, "outage", ())
        await f.round()
        told = [json.loads(asked.body) for asked in server.asked]
        assert [one["type"] for one in told] == [
            "incident.began", "incident.updated", "incident.updated", "incident.recovered"]  # fmt: skip
        assert len({asked.headers["webhook-id"] for asked in server.asked}) == 4
        assert all("webhook-signature" in asked.headers for asked in server.asked)
        data = told[0]["data"]
        assert (data["id"], data["reason"], data["falls"], data["ended"]) == (incident, "outage", 2, None)
        assert (data["models"], data["causes"], data["seen"]) == ({"smol": 2}, {"timeout": 2}, {"canned_reply": 2})
        assert "openfall degrade list" in data["to_do"]
        assert told[-1]["data"]["text"].startswith("It lasted 20 min.")

    house(story, webhook="{url}/hook")


def test_the_operator_s_own_address_may_be_within_whatever_producers_may_not(house):
    async def story(f, server):
        f.incident("outage", "webhook")
        await f.round()
        assert len(server.asked) == 1

    house(story, webhook="{url}", rules=Rules())


def test_an_outage_on_discord_is_one_message_that_is_kept_up_to_date_and_one_at_its_end(channel):
    async def story(f, discord):
        incident = f.incident()
        await f.round()
        (embed,) = discord.embeds
        assert (embed["title"], embed["color"]) == ("No model can answer", 0xD92D20)
        assert fields(embed)["Jobs"] == "2 × interactive"
        assert fields(embed)["Callers saw"] == "2 × a canned reply"
        assert "openfall degrade list" in fields(embed)["What to do"]
        f.store.hset(f"of:incident:{incident}", mapping={"falls": 9, "held": 0, "replayed": 8, "version": 7})
        f.put(f"notice:discord:{incident}:update")
        await f.round()
        assert f.waits() == {f"notice:discord:{incident}:update": 10}
        f.time[0] += 10
        await f.round()
        (embed,) = discord.embeds
        assert embed["description"] == "Jobs fell 9 times; 0 are held."
        assert await close(f.link, "outage", ())
        await f.round()
        _, end = discord.embeds
        assert (end["title"], end["color"]) == ("Over: no model can answer", 0x12B76A)
        assert end["description"] == (
            "It lasted 10 s. Jobs fell 9 times; 8 came back, 0 ran out of time, 0 are still held."
        )
        assert [(method, path.rpartition("token")[2]) for method, path, _ in discord.asked] == [
            ("POST", "?thread_id=42&wait=true"),
            ("PATCH", f"/messages/{next(iter(discord.messages))}?thread_id=42"),
            ("POST", "?thread_id=42&wait=true"),
        ]
        assert all(body["allowed_mentions"] == {"parse": []} for _, _, body in discord.asked)
        assert f.waits() == {}

    channel(story)


def test_another_reason_is_amber_and_says_what_a_person_can_do(channel):
    async def story(f, discord):
        f.incident("poisoned")
        await f.round()
        (embed,) = discord.embeds
        assert (embed["color"], embed["title"]) == (0xF79009, "A job kills its workers")
        assert "openfall degrade replay" in fields(embed)["What to do"]

    channel(story)


def test_a_message_that_somebody_deleted_is_posted_anew_and_kept_up_to_date(channel):
    async def story(f, discord):
        incident = f.incident()
        await f.round()
        discord.messages.clear()
        for version in (3, 4):
            f.time[0] += 10
            f.store.hset(f"of:incident:{incident}", "version", version)
            f.put(f"notice:discord:{incident}:update")
            await f.round()
        assert len(discord.messages) == 1
        assert [method for method, _, _ in discord.asked] == ["POST", "PATCH", "POST", "PATCH"]

    channel(story)


def test_discord_s_wish_for_a_rest_is_honoured_before_and_after_it_is_angry(channel):
    async def story(f, discord):
        for number in range(7):
            f.incident(f"reason{number}")
            await f.round()
        assert len(discord.asked) == 5, "the fifth said that it was the last for now"
        assert sorted(f.waits().values()) == [2.2, 2.2]
        f.time[0] += 3
        discord.fault = "global"
        await f.round()
        assert len(discord.asked) <= 7
        assert all(wait >= 5 for wait in f.waits().values())
        discord.fault = ""
        f.time[0] += 10
        await f.round()
        assert (len(discord.messages), f.waits()) == (7, {})

    channel(story, at_most=(100, 600.0))


def test_while_discord_is_down_nothing_is_lost_and_the_beginning_is_told_before_the_end(channel, caplog):
    async def story(f, discord):
        discord.fault = "down"
        incident = f.incident(held=0)
        waits = []
        for _ in range(4):
            await f.round()
            waits.append(f.waits()[f"notice:discord:{incident}:began"])
            f.time[0] += waits[-1]
        assert waits == [5, 10, 20, 40]
        assert await close(f.link, "outage", ())
        discord.fault = ""
        await f.round()
        await f.round()
        assert [embed["title"] for embed in discord.embeds] == ["No model can answer", "Over: no model can answer"]
        assert f.waits() == {}

    channel(story)
    assert "/token" not in caplog.text


def test_shorter_ones_that_went_unmentioned_are_counted_in_the_next(channel):
    async def story(f, discord):
        for _ in range(3):
            f.incident(held=0)
            await f.round()
            f.time[0] += 10
            assert await close(f.link, "outage", ())
            await f.round()
        f.time[0] += 600
        await f.round()
        f.incident()
        await f.round()
        assert len(discord.embeds) == 3, "the first, its end, and the last"
        assert "2 shorter ones before it went unmentioned" in discord.embeds[-1]["description"]

    channel(story)


def test_whatever_an_incident_holds_discord_takes_it(channel):
    async def story(f, discord):
        many = {f"{kind}:{'n' * 200}🜂{number}": number for kind in "umcs" for number in range(60)}
        f.incident("o" * 300, **many)
        await f.round()
        assert len(discord.messages) == 1
        assert f.waits() == {}

    channel(story)


def test_a_webhook_that_is_gone_is_an_error_that_may_be_mended(channel):
    async def story(f, discord):
        f.incident()
        await f.round()
        assert list(f.waits().values()) == [5]

    channel(story, discord="http://127.0.0.1:1/api/webhooks/9/none")


def test_a_notice_is_given_up_after_three_days(channel):
    async def story(f, discord):
        discord.fault = "down"
        incident = f.incident()
        await f.round()
        f.store.hset(f"of:posting:notice:discord:{incident}:began", "tries", 400)
        f.time[0] += 3 * 86400
        await f.round()
        assert f.waits() == {}
        assert f.store.hget("of:counters", "notice_given_up") == b"1"

    channel(story)


def poster(redis_url: str, discord: str = "") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.workers.post_office.poster", redis_url, discord], cwd=ROOT)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def until(true: Callable[[], Any]) -> None:
    ends = time.monotonic() + 20
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


@contextmanager
def listening(port: int = 0) -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", port), reuse_port=True) as listener:
        yield listener


def received(listener: socket.socket) -> tuple[socket.socket, bytes, dict[str, str]]:
    """One request, read to its end: the connection is still open, and nothing has been answered."""
    connection, _ = listener.accept()
    connection.settimeout(20)
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    told = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:])
    while len(body) < int(told["content-length"]):
        body += connection.recv(65536)
    return connection, body, told


def prepared(store: redis.Redis, url: str) -> None:
    store.hset(f"of:job:{JOB}", mapping={"webhook": url, "ended": 1700000000000})
    store.set(f"of:result:{JOB}", pack_result(Result(id=JOB, status=Status.ANSWERED, body={})))
    store.zadd("of:outbox", {DONE: 0})


def answered(listener: socket.socket, redis_url: str) -> dict[str, str]:
    """Another worker posts, and is answered; the head of its request."""
    process = poster(redis_url)
    connection, _, told = received(listener)
    connection.sendall(b"HTTP/1.1 204 X\r\n\r\n")
    connection.close()
    assert process.wait(20) == 0
    return told


@pytest.mark.slow
def test_a_worker_killed_before_its_post_arrives_loses_nothing(redis_url):
    with redis.Redis.from_url(redis_url) as store, listening() as silent:
        prepared(store, f"http://127.0.0.1:{silent.getsockname()[1]}/h")
        process = poster(redis_url)
        until(lambda: store.hget(f"of:posting:{DONE}", "lease"))
        kill(process)
        (_, due) = store.zrange("of:outbox", 0, 0, withscores=True)[0]
        assert 0 < due / 1000 - time.time() <= outbox.LEASE
        store.zadd("of:outbox", {DONE: 0})  # its lease has ended
        silent.setblocking(False)
        while True:  # what the dead one may have sent was read by nobody
            try:
                silent.accept()[0].close()
            except BlockingIOError:
                break
        silent.settimeout(20)
        assert answered(silent, redis_url)["webhook-id"].startswith("msg_")
        assert not store.exists("of:outbox", f"of:posting:{DONE}")


@pytest.mark.slow
def test_a_worker_killed_between_its_post_and_writing_that_down_posts_the_same_again(redis_url):
    with redis.Redis.from_url(redis_url) as store, listening() as listener:
        listener.settimeout(20)
        prepared(store, f"http://127.0.0.1:{listener.getsockname()[1]}/h")
        process = poster(redis_url)
        connection, body, first = received(listener)
        kill(process)
        connection.close()
        assert json.loads(body)["type"] == "job.answered"
        store.zadd("of:outbox", {DONE: 0})  # its lease has ended
        second = answered(listener, redis_url)
        assert second["webhook-id"] == first["webhook-id"]
        assert not store.exists("of:outbox", f"of:posting:{DONE}")


@pytest.mark.slow
def test_a_notice_survives_its_poster_and_does_not_wait_for_its_own_turn(redis_url):
    incident = "outage-1700000000000"
    entry = f"notice:discord:{incident}:began"
    with redis.Redis.from_url(redis_url) as store, listening() as listener:
        listener.settimeout(20)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api/webhooks/1/t"
        store.hset(f"of:incident:{incident}", mapping={
            "reason": "outage", "began": 1700000000000, "falls": 1, "version": 1})  # fmt: skip
        store.zadd("of:outbox", {entry: 0})
        process = poster(redis_url, url)
        connection, _, _ = received(listener)
        kill(process)
        connection.close()
        store.zadd("of:outbox", {entry: 0})  # its lease has ended
        process = poster(redis_url, url)
        connection, _, _ = received(listener)
        connection.sendall(b'HTTP/1.1 200 X\r\ncontent-length: 12\r\n\r\n{"id": "77"}')
        assert process.wait(20) == 0
        connection.close()
        assert store.hget(f"of:incident:{incident}", "message:discord") == b"77"
        assert not store.exists("of:outbox")


@pytest.mark.slow
def test_what_was_posted_while_redis_went_away_is_not_posted_again(server):
    """Redis is killed after the entry was taken, and is back before its lease ends."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            hook = await stack.enter_async_context(fault_server(OK))
            link = await stack.enter_async_context(Link(server.url))
            office = PostOffice(link, Terms(secret=SECRET, rules=TRUSTED), lambda: 0.5)
            stack.push_async_callback(office.close)
            with redis.Redis.from_url(server.url) as store:
                prepared(store, hook.url)
                store.config_set("appendfsync", "always")
                gate = asyncio.Event()

                async def gone(writer: asyncio.StreamWriter) -> None:
                    await asyncio.to_thread(server.kill)
                    gate.set()
                    await OK(writer)

                hook.scripts[:] = [gone]
                await office.round()
                await gate.wait()
                await asyncio.sleep(0)
                await asyncio.to_thread(server.start)
                await office.settle()
            with redis.Redis.from_url(server.url) as store:
                assert not store.exists("of:outbox", f"of:posting:{DONE}")
                assert len(hook.asked) == 1

    asyncio.run(main())
