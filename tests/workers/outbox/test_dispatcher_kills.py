"""A dispatcher, or Redis, is killed: no entry is lost, and a repeated delivery has the same id."""

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
from openfall.workers.outbox.dispatcher import OutboxDispatcher
from openfall.workers.outbox.outbox_settings import OutboxSettings
from openfall.workers.outbox.webhook_url_check import TRUSTED
from tests.faults import fault_server
from tests.workers.outbox.dispatcher_harness import DONE, JOB, OK, SECRET

ROOT = Path(__file__).resolve().parents[3]


def start_dispatcher(redis_url: str, discord: str = "") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.workers.outbox.dispatcher_process", redis_url, discord], cwd=ROOT
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def until(condition: Callable[[], Any]) -> None:
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


@contextmanager
def listening(port: int = 0) -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", port), reuse_port=True) as listener:
        yield listener


def receive(listener: socket.socket) -> tuple[socket.socket, bytes, dict[str, str]]:
    """Read one whole request. Returns the open connection, the body and the headers; nothing is answered yet."""
    connection, _ = listener.accept()
    connection.settimeout(60)
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:])
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return connection, body, headers


def add_due_webhook(store: redis.Redis, url: str) -> None:
    store.hset(f"of:job:{JOB}", mapping={"webhook": url, "ended": 1700000000000})
    store.set(f"of:result:{JOB}", pack_result(Result(id=JOB, status=Status.ANSWERED, body={})))
    store.zadd("of:outbox", {DONE: 0})


def answer_one(listener: socket.socket, redis_url: str) -> dict[str, str]:
    """Let another dispatcher deliver, and answer it. Returns the headers of its request."""
    process = start_dispatcher(redis_url)
    connection, _, headers = receive(listener)
    connection.sendall(b"HTTP/1.1 204 X\r\n\r\n")
    connection.close()
    assert process.wait(60) == 0
    return headers


@pytest.mark.slow
def test_a_dispatcher_killed_before_its_request_arrives_loses_nothing(redis_url):
    with redis.Redis.from_url(redis_url) as store, listening() as silent:
        add_due_webhook(store, f"http://127.0.0.1:{silent.getsockname()[1]}/h")
        process = start_dispatcher(redis_url)
        until(lambda: store.hget(f"of:outbox-entry:{DONE}", "lease"))
        kill(process)
        (_, due) = store.zrange("of:outbox", 0, 0, withscores=True)[0]
        assert 0 < due / 1000 - time.time() <= outbox.LEASE_SECONDS
        store.zadd("of:outbox", {DONE: 0})  # its lease has ended
        silent.setblocking(False)
        while True:  # the killed dispatcher may have sent something that was never read
            try:
                silent.accept()[0].close()
            except BlockingIOError:
                break
        silent.settimeout(60)
        assert answer_one(silent, redis_url)["webhook-id"].startswith("msg_")
        assert not store.exists("of:outbox", f"of:outbox-entry:{DONE}")


@pytest.mark.slow
def test_a_dispatcher_killed_before_it_records_a_delivery_repeats_it_with_the_same_id(redis_url):
    with redis.Redis.from_url(redis_url) as store, listening() as listener:
        listener.settimeout(60)
        add_due_webhook(store, f"http://127.0.0.1:{listener.getsockname()[1]}/h")
        process = start_dispatcher(redis_url)
        connection, body, first = receive(listener)
        kill(process)
        connection.close()
        assert json.loads(body)["type"] == "job.answered"
        store.zadd("of:outbox", {DONE: 0})  # its lease has ended
        second = answer_one(listener, redis_url)
        assert second["webhook-id"] == first["webhook-id"]
        assert not store.exists("of:outbox", f"of:outbox-entry:{DONE}")


@pytest.mark.slow
def test_a_notice_survives_its_dispatcher_and_is_not_delayed_by_its_own_rate_limit(redis_url):
    incident = "outage-1700000000000"
    entry = f"notice:discord:{incident}:began"
    with redis.Redis.from_url(redis_url) as store, listening() as listener:
        listener.settimeout(60)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api/webhooks/1/t"
        store.hset(f"of:incident:{incident}", mapping={
            "reason": "outage", "began": 1700000000000, "falls": 1, "version": 1})  # fmt: skip
        store.zadd("of:outbox", {entry: 0})
        process = start_dispatcher(redis_url, url)
        connection, _, _ = receive(listener)
        kill(process)
        connection.close()
        store.zadd("of:outbox", {entry: 0})  # its lease has ended
        process = start_dispatcher(redis_url, url)
        connection, _, _ = receive(listener)
        connection.sendall(b'HTTP/1.1 200 X\r\ncontent-length: 12\r\n\r\n{"id": "77"}')
        assert process.wait(60) == 0
        connection.close()
        assert store.hget(f"of:incident:{incident}", "message:discord") == b"77"
        assert not store.exists("of:outbox")


@pytest.mark.slow
def test_a_delivery_made_while_redis_was_away_is_recorded_and_not_repeated(server):
    """Redis is killed after the entry was taken, and is back before its lease ends."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            hook = await stack.enter_async_context(fault_server(OK))
            link = await stack.enter_async_context(RedisConnection(server.url))
            dispatcher = OutboxDispatcher(link, OutboxSettings(secret=SECRET, url_policy=TRUSTED), lambda: 0.5)
            stack.push_async_callback(dispatcher.close)
            with redis.Redis.from_url(server.url) as store:
                add_due_webhook(store, hook.url)
                gate = asyncio.Event()

                async def gone(writer: asyncio.StreamWriter) -> None:
                    await asyncio.to_thread(server.kill)
                    gate.set()
                    await OK(writer)

                hook.scripts[:] = [gone]
                await dispatcher.dispatch()
                await gate.wait()
                await asyncio.sleep(0)
                await asyncio.to_thread(server.start)
                await dispatcher.wait_idle()
            with redis.Redis.from_url(server.url) as store:
                assert not store.exists("of:outbox", f"of:outbox-entry:{DONE}")
                assert len(hook.calls_received) == 1

    asyncio.run(main())
