"""One post: where it connects to, how long it may take, and what is read of the answer."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest

from openfall.workers.outbox.sender import (
    MOST_READ,
    NotSent,
    Sender,
    WebhookRequest,
    WebhookResponse,
)
from openfall.workers.outbox.url_policy import TRUSTED, UrlPolicy
from tests.faults import answer, cut, drip, fault_server, flood, raw, reset, stall

SECRET = "hunter2"


def sent(*scripts: Any, rules: UrlPolicy = TRUSTED, path: str = f"/h?token={SECRET}", **more: Any) -> tuple[Any, Any]:
    """What a post to a real server came to, and what the server was asked."""

    async def main() -> tuple[Any, Any]:
        async with fault_server(*scripts) as server:
            url = more.pop("url", server.url).replace("PORT", server.url.rpartition(":")[2])
            sender = Sender(rules, **more)
            reply = await sender.send(WebhookRequest(url=url + path, body=b'{"a": 1}', headers={"webhook-id": "msg_1"}))
            await sender.close()
            return reply, server.asked

    return asyncio.run(main())


def test_a_post_arrives_as_it_was_given():
    reply, (asked,) = sent(answer({"id": "7"}, retry_after="3"))
    assert (reply.status, reply.body, reply.headers["retry-after"]) == (200, b'{"id":"7"}', "3")
    assert (asked.path, asked.body) == (f"/h?token={SECRET}", b'{"a": 1}')
    assert (asked.headers["content-type"], asked.headers["webhook-id"]) == ("application/json", "msg_1")
    assert "cookie" not in asked.headers


def test_a_redirect_is_an_answer_like_any_other():
    reply, asked = sent(answer({}, 302, Location="http://169.254.169.254/latest/meta-data"))
    assert (reply.status, len(asked)) == (302, 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0"])
def test_nothing_is_sent_to_an_address_within(host):
    reply, asked = sent(answer({}), rules=UrlPolicy(), url=f"https://{host}:PORT")
    assert reply.refused
    assert "which is not a public address" in reply.why
    assert SECRET not in reply.why
    assert asked == []


def test_a_name_is_resolved_once_and_the_connection_goes_where_it_was_checked():
    asked_for = []

    def lookup(host: str, port: int) -> list[str]:
        asked_for.append((host, port))
        return ["127.0.0.1"]

    reply, asked = sent(answer({}), url="http://rebinding.test:PORT", lookup=lookup)
    assert isinstance(reply, WebhookResponse)
    (told,) = asked_for
    assert told == ("rebinding.test", urlsplit("//" + asked[0].headers["host"]).port)


def test_one_address_within_among_others_is_enough_to_refuse():
    reply, asked = sent(answer({}), rules=UrlPolicy(), url="https://mixed.test:PORT",
                        lookup=lambda host, port: ["93.184.216.34", "127.0.0.1"])  # fmt: skip
    assert reply.refused
    assert asked == []


def test_a_host_that_is_not_on_the_list_is_not_even_looked_up():
    def lookup(host: str, port: int) -> list[str]:
        raise AssertionError(host)

    reply, _ = sent(answer({}), rules=UrlPolicy(allow=("bot.example",), private=True), lookup=lookup)
    assert reply.refused


@pytest.mark.parametrize("script", [stall, drip], ids=["silent", "a byte now and then"])
def test_a_server_that_takes_too_long_is_left(script):
    reply, _ = sent(script, timeout=0.2)
    assert reply == NotSent("no whole answer within 0.2 s")


def test_no_more_is_read_than_may_be():
    reply, _ = sent(flood)
    assert len(reply.body) == MOST_READ


def test_an_answer_that_breaks_off_has_its_status_all_the_same():
    reply, _ = sent(cut({"a": "b" * 100}))
    assert reply.status == 200


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"url": "http://127.0.0.1:1"}, "cannot connect: connection refused"),
        ({"url": "http://nobody.invalid"}, "its host name is not known"),
    ],
    ids=["nobody listens", "no such name"],
)
def test_why_a_host_cannot_be_reached_is_told_without_the_address(more, why):
    reply, _ = sent(answer({}), **more)
    assert reply == NotSent(why)


def test_a_connection_that_breaks_off_is_told():
    reply, asked = sent(reset)
    assert (reply, len(asked)) == (NotSent("the connection broke off"), 1), "and nothing is sent twice"


def test_what_is_no_http_is_told():
    reply, _ = sent(raw(b"SSH-2.0-OpenSSH_9.7\r\n\r\n"))
    assert reply == NotSent("no HTTP was spoken (ClientResponseError)")


def test_what_is_no_tls_is_told():
    async def main() -> NotSent | WebhookResponse:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example ESMTP\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        sender = Sender(TRUSTED)
        reply = await sender.send(WebhookRequest(url=f"https://127.0.0.1:{port}/{SECRET}", body=b"{}"))
        await sender.close()
        server.close()
        return reply

    assert asyncio.run(main()) == NotSent("it speaks no TLS that we do")
