"""Connections that send no whole request, and bodies that are too many at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from openfall.producers.gateway.body_memory import BodyMemory
from openfall.producers.gateway.error_table import Refusal
from tests.producers.gateway.running_gateway import RunningGateway, open_gateway, run

LINE = b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n"
MIB = 2**20


async def _reply(gateway: RunningGateway, data: bytes) -> bytes:
    """What the gateway sends until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    writer.write(data)
    try:
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.close()


def test_a_head_above_64_kib_is_refused(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            reply = await _reply(gateway, LINE + b"x-long: " + b"a" * 66_000)
        assert reply.startswith(b"HTTP/1.1 431 ")

    run(main)


@pytest.mark.parametrize("begun", [b"", LINE, LINE + b"\r\n" + LINE], ids=["nothing", "a half head", "a second half"])
def test_a_connection_without_a_whole_head_is_closed(
    redis_url: str, tmp_path: Path, monkeypatch: Any, begun: bytes
) -> None:
    monkeypatch.setattr("openfall.producers.gateway.http_connection.HEAD_SECONDS", 0.3)

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            assert b"HTTP/1.1 408 Request Timeout" in await _reply(gateway, begun)

    run(main)


def test_a_body_that_does_not_arrive_is_a_408(redis_url: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("openfall.producers.gateway.exchange.BODY_SECONDS", 0.2)

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
            reply = await _reply(gateway, head + b"content-length: 100\r\n\r\n{")
        assert reply.startswith(b"HTTP/1.1 408 ")
        assert b"body_timeout" in reply

    run(main)


def test_more_pipelined_requests_than_anyone_sends_are_refused(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            assert b"HTTP/1.1 429 " in await _reply(gateway, (LINE + b"\r\n") * 400)
            assert (await gateway.http.get("/health")).status_code == 200

    run(main)


def test_large_bodies_beyond_the_room_are_to_come_again_and_small_ones_pass() -> None:
    room = BodyMemory(most=3 * MIB)
    room.take(2 * MIB, 2 * MIB)
    with pytest.raises(Refusal, match="are being read"):
        room.take(2 * MIB, 2 * MIB)
    room.take(MIB, MIB)
    room.take(MIB, MIB)
    room.give_back(4 * MIB)
    room.take(2 * MIB, 2 * MIB)
