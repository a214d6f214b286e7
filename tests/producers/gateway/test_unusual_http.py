"""HTTP as less usual clients send it: requests to change the protocol, compressed bodies, TLS, other methods."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
from pathlib import Path

import pytest

from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import SAY, RunningGateway, open_gateway, run

BODY = json.dumps({"model": "chat", **SAY}).encode()
CHUNKED = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
SIZED = b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
TO_HTTP_2 = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"
"""What the HTTP client of Java sends with its first request."""
TO_SOCKET = b"connection: upgrade\r\nupgrade: websocket\r\n"
LAST = b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"


async def _statuses(gateway: RunningGateway, *parts: bytes) -> list[bytes]:
    """The statuses of the responses until the gateway closes the connection. The parts arrive one after another."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await gateway.http.get("/health")  # the gateway has read the part
        async with asyncio.timeout(60):
            reply = await reader.read()
    finally:
        writer.close()
    return re.findall(rb"HTTP/1\.1 (\d{3}) ", reply)


@pytest.mark.parametrize(
    ("parts", "statuses"),
    [
        ((POST + TO_HTTP_2 + SIZED + LAST,), [b"200", b"200"]),
        ((POST + TO_HTTP_2 + CHUNKED + LAST,), [b"200", b"200"]),
        ((POST + TO_HTTP_2, SIZED[:40], SIZED[40:], LAST), [b"200", b"200"]),
        (((POST + TO_HTTP_2 + SIZED) * 3 + LAST,), [b"200"] * 4),
        ((POST.replace(b"POST /v1/chat/completions", b"GET /health") + TO_HTTP_2 + b"\r\n" + LAST,), [b"200", b"200"]),
        ((POST + TO_SOCKET + SIZED + LAST,), [b"200", b"200"]),
        ((POST + TO_SOCKET + b"content-length: 0\r\n\r\n" + LAST,), [b"400", b"200"]),
        ((POST + TO_SOCKET + b"transfer-encoding: xchunked\r\n\r\n" + LAST,), [b"400"]),
    ],
    ids=["sized", "chunked", "in parts", "pipelined", "no body", "websocket", "an empty body", "a body without an end"],
)  # fmt: skip
def test_a_request_for_another_protocol_is_answered_in_this_one(
    redis_url: str, tmp_path: Path, parts: tuple[bytes, ...], statuses: list[bytes]
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            assert await _statuses(gateway, *parts) == statuses

    run(main)


def test_many_pipelined_requests_for_another_protocol_are_refused_like_others(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            small = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"
            assert (await _statuses(gateway, small * 400))[-1] == b"429"
            assert (await gateway.http.get("/health")).status_code == 200

    run(main)


@pytest.mark.parametrize("coding", ["gzip", "zstd", "br", "GZIP", "gzip, br"])
def test_a_compressed_body_is_refused_in_words(redis_url: str, tmp_path: Path, coding: str) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat"):
                response = await gateway.http.post(
                    path, content=gzip.compress(BODY), headers={"content-encoding": coding}
                )
                assert response.status_code == 415
                assert "send it without Content-Encoding" in response.text

    run(main)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "shift-jis"])
def test_a_body_in_another_encoding_is_refused_in_words(redis_url: str, tmp_path: Path, encoding: str) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            text = '{"model": "chat", "messages": [{"role": "user", "content": "TEXT"}]}'
            content = text.replace("TEXT", "grüße" if encoding == "latin-1" else "こんにちは").encode(encoding)
            response = await gateway.http.post("/v1/chat/completions", content=content)
        assert (response.status_code, "send JSON in UTF-8" in response.text) == (400, True)

    run(main)


def test_a_body_with_a_byte_order_mark_is_read(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            marked = await gateway.http.post("/v1/chat/completions", content=b"\xef\xbb\xbf" + BODY)
            alone = await gateway.http.post("/v1/chat/completions", content=b"\xef\xbb\xbf")
        assert (marked.status_code, alone.status_code) == (200, 400)

    run(main)


def test_a_client_that_sends_https_is_named_in_the_log(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hello = bytes.fromhex("16030100c8010000c40303") + b"x" * 200

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            assert await _statuses(gateway, hello) == [b"400"]
            assert await _statuses(gateway, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == [b"400"]

    with caplog.at_level(logging.WARNING, "openfall.gateway"):
        run(main)
    warnings = [record.getMessage() for record in caplog.records if record.name == "openfall.gateway"]
    assert warnings == ["a client sends https: give it a URL with http://", "a request is no HTTP/1.1"]


def test_options_without_an_origin_names_the_methods(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            for path, allowed in {
                "/v1/chat/completions": "POST",
                "/v1/models": "GET",
                "/v1/files": "GET, POST",
            }.items():
                response = await gateway.http.options(path)
                assert (response.status_code, response.headers["allow"]) == (405, allowed)
            assert (await gateway.http.options("/v1/models", headers={"origin": "http://evil"})).status_code == 403

    run(main)
