"""What a kill of a poster, or of Redis, costs: nothing lost, and the same posted again."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from openfall.router_core.jobs.envelope import pack_result
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state import outbox
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.workers.outbox.dispatcher import OutboxDispatcher, OutboxSettings
from openfall.workers.outbox.url_policy import TRUSTED
from tests.faults import fault_server
from tests.workers.post_office.stage import DONE, JOB, OK, SECRET

ROOT = Path(__file__).resolve().parents[3]


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
        assert 0 < due / 1000 - time.time() <= outbox.LEASE_SECONDS
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
            link = await stack.enter_async_context(RedisConnection(server.url))
            office = OutboxDispatcher(link, OutboxSettings(secret=SECRET, rules=TRUSTED), lambda: 0.5)
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
