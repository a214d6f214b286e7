"""Connections that send no whole request, and bodies that are too many at once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from openfall.producers.gateway.body_memory import BodyMemory
from openfall.producers.gateway.error_table import Refusal
from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import SAY, RunningGateway, open_gateway, run

CHUNKED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
    b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
)
LINE = b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n"
MIB = 2**20


async def _reply(gateway: RunningGateway, data: bytes) -> bytes:
    """What the gateway sends until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    writer.write(data)
    try:
        async with asyncio.timeout(60):
            return await reader.read()
    except ConnectionResetError:  # a connection that is closed with unread bytes may lose what was sent on it
        return b""
    finally:
        writer.close()


def test_a_head_above_64_kib_is_refused(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            reply = await _reply(gateway, LINE + b"x-long: " + b"a" * 66_000)
        assert reply.startswith(b"HTTP/1.1 431 ")

    run(main)


@pytest.mark.parametrize(
    ("count", "statuses"), [(900, (b"200",)), (1_100, (b"431",)), (3_000, (b"431",)), (50_000, (b"431", b""))]
)
def test_a_head_of_many_short_headers_is_refused(
    redis_url: str, tmp_path: Path, count: int, statuses: tuple[bytes, ...]
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            reply = await _reply(gateway, LINE + b"connection: close\r\n" + b"a:\r\n" * count + b"\r\n")
            assert reply[9:12] in statuses
            assert (await gateway.http.get("/health")).status_code == 200

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


@pytest.mark.parametrize(
    "rest",
    [
        b"0" * 300_000,
        b"1;a=" + b"a" * 300_000,
        b"1;a=bbbbbbbb\r\n{\r\n" * 30_000,
        b"x: a\r\n" * 60_000,
        b"x: " + b"a" * 300_000,
    ],
    ids=["a size", "an extension", "extensions", "trailers", "a trailer"],
)
def test_a_body_with_more_framing_than_bytes_is_refused(redis_url: str, tmp_path: Path, rest: bytes) -> None:
    is_trailer = rest.startswith(b"x")

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            begun = CHUNKED + (b"2\r\n{}\r\n0\r\n" if is_trailer else b"")
            assert (await _reply(gateway, begun + rest))[:13] in (b"HTTP/1.1 431 ", b"")
            assert (await gateway.http.get("/health")).status_code == 200

    run(main)


def test_a_body_in_chunks_of_one_byte_is_read_and_a_trailer_is_no_header(redis_url: str, tmp_path: Path) -> None:
    body = json.dumps({"model": "chat", **SAY, "user": "u" * 50_000}).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            reply = await _reply(gateway, CHUNKED + chunks + b"0\r\nContent-Encoding: gzip\r\n\r\n")
            assert reply.startswith(b"HTTP/1.1 200 ")

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
