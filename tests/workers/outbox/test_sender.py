"""One request: where it connects to, how long it may take, and how much of the response is read."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest

from openfall.workers.outbox.delivery_result import Failed, WebhookResponse
from openfall.workers.outbox.sender import MAX_RESPONSE_BYTES, Sender
from openfall.workers.outbox.webhook_url_check import TRUSTED, UrlPolicy
from tests.faults import LINGERING, Script, answer, cut, drip, fault_server, flood, raw, reset, stall

SECRET = "hunter2"


def endless(data: bytes) -> Script:
    """These bytes, and no end: the client has to leave."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await asyncio.Event().wait()

    LINGERING.add(script)
    return script


def send(*scripts: Any, policy: UrlPolicy = TRUSTED, path: str = f"/h?token={SECRET}", **more: Any) -> tuple[Any, Any]:
    """The response to a request to a real server, and the requests that the server got."""

    async def main() -> tuple[Any, Any]:
        async with fault_server(*scripts) as server:
            url = more.pop("url", server.url).replace("PORT", server.url.rpartition(":")[2])
            sender = Sender(policy, **more)
            response = await sender.send(url + path, b'{"a": 1}', {"webhook-id": "msg_1"})
            await sender.close()
            return response, server.calls_received

    return asyncio.run(main())


def test_a_request_arrives_unchanged():
    response, (request,) = send(answer({"id": "7"}, retry_after="3"))
    assert (response.status, response.body, response.headers["retry-after"]) == (200, b'{"id":"7"}', "3")
    assert (request.path, request.body) == (f"/h?token={SECRET}", b'{"a": 1}')
    assert (request.headers["content-type"], request.headers["webhook-id"]) == ("application/json", "msg_1")
    assert "cookie" not in request.headers


def test_a_redirect_is_not_followed():
    response, requests = send(answer({}, 302, Location="http://169.254.169.254/latest/meta-data"))
    assert (response.status, len(requests)) == (302, 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0"])
def test_nothing_is_sent_to_an_internal_address(host):
    response, requests = send(answer({}), policy=UrlPolicy(), url=f"https://{host}:PORT")
    assert response.refused
    assert "which is not a public address" in response.reason
    assert SECRET not in response.reason
    assert requests == []


def test_a_host_is_resolved_once_and_the_connection_goes_to_the_checked_address():
    lookups = []

    def lookup(host: str, port: int) -> list[str]:
        lookups.append((host, port))
        return ["127.0.0.1"]

    response, requests = send(answer({}), url="http://rebinding.test:PORT", lookup=lookup)
    assert isinstance(response, WebhookResponse)
    (lookup_call,) = lookups
    assert lookup_call == ("rebinding.test", urlsplit("//" + requests[0].headers["host"]).port)


def test_one_internal_address_among_others_is_enough_to_refuse():
    response, requests = send(answer({}), policy=UrlPolicy(), url="https://mixed.test:PORT",
                        lookup=lambda host, port: ["93.184.216.34", "127.0.0.1"])  # fmt: skip
    assert response.refused
    assert requests == []


def test_a_host_that_is_not_listed_is_not_looked_up():
    def lookup(host: str, port: int) -> list[str]:
        raise AssertionError(host)

    response, _ = send(answer({}), policy=UrlPolicy(allow=("bot.example",), allow_private=True), lookup=lookup)
    assert response.refused


def test_a_silent_server_times_out():
    response, _ = send(stall, timeout_seconds=0.2)
    assert response == Failed("no response within 0.2 s", unreachable=True)


def test_the_status_counts_when_the_body_comes_a_byte_now_and_then():
    response, _ = send(drip, body_timeout_seconds=0.2)
    assert response.status == 200


def test_the_response_body_is_read_up_to_the_limit():
    response, _ = send(flood)
    assert len(response.body) == MAX_RESPONSE_BYTES


def test_the_status_counts_when_the_body_breaks_off():
    response, _ = send(cut({"a": "b" * 100}))
    assert response.status == 200


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("response_bytes", "status"),
    [
        (CHUNKED + b"ZZZ\r\nfoo", 200),
        (CHUNKED + b"FFFFFFFFFFFFFFFFFFFFF\r\nfoo", 200),
        (HEAD + b"Content-Length: 2\r\n\r\n{}{}{}", 200),
        (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 200),
        (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 200),
        (HEAD + b"Content-Length: -1\r\n\r\n{}", 200),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 200),
        (HEAD + b"X-Large: " + b"x" * 60_000 + b"\r\nContent-Length: 0\r\n\r\n", 200),
        (HEAD + b"X-Many: y\r\n" * 5_000 + b"Content-Length: 0\r\n\r\n", 200),
        (HEAD + b"no header\r\n\r\n", 200),
        (HEAD, 200),
        (b"HTTP/1.1 204 No Content\r\n\r\n{}", 204),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}", 204),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + CHUNKED + b"ZZZ\r\n", 200),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n{}", 204),
        (b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\nfoo", 500),
    ],
)  # fmt: skip
def test_the_status_line_decides_whatever_follows_it(response_bytes, status):
    response, _ = send(raw(response_bytes))
    assert response.status == status


def test_an_interim_response_alone_is_no_response():
    response, _ = send(raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"))
    assert isinstance(response, Failed)


def test_interim_responses_without_end_are_a_closed_connection():
    response, _ = send(endless(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1_000))
    assert response == Failed("the connection failed: the server closed the connection", unreachable=True)


def test_a_body_that_never_ends_is_read_for_a_while_and_the_status_counts():
    response, _ = send(endless(HEAD + b"Content-Type: text/event-stream\r\n\r\n: hello\n\n"), body_timeout_seconds=0.2)
    assert (response.status, response.body) == (200, b": hello\n\n")


def test_headers_that_never_end_leave_the_status():
    response, _ = send(endless(HEAD + b"X-Slow: "), timeout_seconds=2)
    assert response.status == 200


@pytest.mark.parametrize("piece", [b"x" * 65536, b"X: y\r\n" * 10_000], ids=["one header", "many headers"])
def test_a_flood_of_headers_is_bounded(piece):
    async def flood_headers(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"X: ")
        while True:
            writer.write(piece)
            await writer.drain()

    response, _ = send(flood_headers, timeout_seconds=10)
    assert (response.status, response.headers) == (200, {})


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"url": "http://127.0.0.1:1"}, "cannot connect: connection refused"),
        ({"url": "http://absent.invalid"}, "cannot connect: its host name is not known"),
    ],
    ids=["closed port", "unknown name"],
)
def test_an_unreachable_host_is_reported_without_the_url(more, reason):
    response, _ = send(answer({}), **more)
    assert response == Failed(reason, unreachable=True)


def test_a_closed_connection_is_reported():
    response, requests = send(reset)
    assert response == Failed("the connection failed: the server closed the connection", unreachable=True)
    assert len(requests) == 1, "and nothing is sent twice"


def test_a_response_that_is_not_http_is_reported():
    response, _ = send(raw(b"SSH-2.0-OpenSSH_9.7\r\n\r\n"))
    assert response == Failed(
        "the connection failed: the response is not valid HTTP (ClientResponseError)", unreachable=True
    )


def test_a_failed_tls_handshake_is_reported():
    async def main() -> Failed | WebhookResponse:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example ESMTP\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        sender = Sender(TRUSTED)
        response = await sender.send(f"https://127.0.0.1:{port}/{SECRET}", b"{}", {})
        await sender.close()
        server.close()
        return response

    assert asyncio.run(main()) == Failed("cannot connect: the TLS handshake failed", unreachable=True)
