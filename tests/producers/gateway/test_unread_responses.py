"""Callers that end before they have read a response which the gateway has sent: the repeat gets the job of the
first."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from openfall.router_core.state import keys
from tests.faults import COMPLETION, answer, stall
from tests.producers.gateway.running_gateway import SAY, RunningGateway, open_gateway, run

BACKGROUND = {"model": "chat", "input": "Haruka waves", "background": True}
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/responses": BACKGROUND,
    "/v1/chat/completions": {"model": "chat", **SAY},
    "/v1/messages": {"model": "chat", "max_tokens": 9, **SAY},
    "/api/chat": {"model": "chat", "stream": False, **SAY},
}


def packed(gateway: RunningGateway, path: str, body: dict[str, Any]) -> bytes:
    text = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: {urlsplit(gateway.url).netloc}\r\ncontent-type: application/json\r\n"
    return b"%bcontent-length: %d\r\n\r\n%b" % (head.encode(), len(text), text)


@asynccontextmanager
async def unread_response(gateway: RunningGateway, path: str, body: dict[str, Any]) -> AsyncIterator[socket.socket]:
    """The connection of a caller whose response is there, and not read. It is closed at the end."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    address = urlsplit(gateway.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.setblocking(False)
        await loop.sock_sendall(connection, packed(gateway, path, body))
        loop.add_reader(connection, readable.set)
        try:
            await asyncio.wait_for(readable.wait(), 60)
        finally:
            loop.remove_reader(connection)
        yield connection


async def only_job(gateway: RunningGateway) -> str:
    (job,) = await gateway.link.command("ZRANGE", keys.JOBS, 0, -1)
    return str(job.decode())


async def until_let_go(gateway: RunningGateway, job: str) -> None:
    async with asyncio.timeout(60):
        while await gateway.link.command("HEXISTS", keys.RECORD + job, "gateway"):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", REQUESTS)
def test_a_repeat_of_a_request_whose_response_was_not_read_joins_its_job(
    redis_url: str, tmp_path: Path, path: str
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            async with unread_response(gateway, path, REQUESTS[path]):
                job = await only_job(gateway)
            await until_let_go(gateway, job)
            again = await gateway.http.post(path, json=REQUESTS[path])
            await gateway.instance.client.wait(job, 60)
            assert again.headers["x-openfall-job"] == job
            assert len(gateway.upstream.calls_received) == 1
            third = await gateway.http.post(path, json=REQUESTS[path])
            assert third.headers["x-openfall-job"] != job

    run(main)


def test_a_response_that_stays_unread_after_its_gateway_has_noted_it_is_given_to_the_repeat(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            async with unread_response(gateway, "/v1/responses", BACKGROUND):
                job = await only_job(gateway)
                async with asyncio.timeout(60):
                    while not await gateway.link.command("HEXISTS", keys.RECORD + job, "read"):
                        await asyncio.sleep(0.01)
            await until_let_go(gateway, job)
            again = await gateway.http.post("/v1/responses", json=BACKGROUND)
        assert again.headers["x-openfall-job"] == job

    run(main)


def test_a_caller_that_ends_with_the_head_of_a_background_stream_gets_its_job_again(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, stall) as gateway:
            async with unread_response(gateway, "/v1/responses", {**BACKGROUND, "stream": True}):
                job = await only_job(gateway)
            await until_let_go(gateway, job)
            async with gateway.http.stream("POST", "/v1/responses", json={**BACKGROUND, "stream": True}) as again:
                assert again.headers["x-openfall-job"] == job

    run(main)


def test_the_same_question_after_an_answer_that_was_read_is_a_new_job(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            first = await gateway.chat()
            async with unread_response(gateway, "/v1/chat/completions", {"model": "chat", **SAY}) as connection:
                response = await asyncio.get_running_loop().sock_recv(connection, 65536)
                assert response.startswith(b"HTTP/1.1 200")
            jobs = await gateway.link.command("ZCARD", keys.JOBS)
            again = await gateway.chat()
            assert (jobs, await gateway.link.command("ZCARD", keys.JOBS)) == (2, 3)
        assert first.headers["x-openfall-job"] != again.headers["x-openfall-job"]

    run(main)
