"""The fake of Discord keeps Discord's rules, so that what passes with it would pass there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from tests.fakes.discord import DiscordFake, running

Ask = Callable[..., Awaitable[tuple[int, Any, Any]]]


def run(story: Callable[[DiscordFake, Ask], Awaitable[None]]) -> None:
    async def main() -> None:
        now = [1000.0]
        async with running(DiscordFake(clock=lambda: now[0])) as fake, aiohttp.ClientSession() as session:

            async def ask(body: Any, path: str = "?wait=true", method: str = "POST") -> tuple[int, Any, Any]:
                now[0] += 1
                async with session.request(method, fake.url + path, json=body) as answer:
                    document = await answer.json() if answer.content_type == "application/json" else None
                    return answer.status, document, answer.headers

            await story(fake, ask)

    asyncio.run(main())


def test_a_message_has_an_id_when_it_is_waited_for_and_can_be_edited_by_it():
    async def story(fake, ask):
        status, message, _ = await ask({"content": "one", "embeds": [{"title": "a"}]})
        assert status == 200
        assert (await ask({"content": "two"}, ""))[0] == 204
        status, edited, _ = await ask({"content": "three"}, f"/messages/{message['id']}", "PATCH")
        assert (status, edited["content"], edited["embeds"]) == (200, "three", [{"title": "a"}])
        assert [message["content"] for message in fake.messages.values()] == ["three", "two"]

    run(story)


@pytest.mark.parametrize(
    ("path", "method", "status", "code"),
    [
        ("/messages/9", "PATCH", 404, 10008),
        ("x", "POST", 401, 50027),
        ("/../../2/token", "POST", 404, 10015),
        ("?thread_id=home", "POST", 400, 50035),
    ],
)
def test_an_unknown_path_or_id_gives_its_error_code(path, method, status, code):
    async def story(fake, ask):
        answered, document, _ = await ask({"content": "one"}, path, method)
        assert (answered, document["code"]) == (status, code)

    run(story)


FIELD = {"name": "n", "value": "v"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, 50006),
        ({"content": "x" * 2001}, 50035),
        ({"embeds": [{"title": "x" * 257}]}, 50035),
        ({"embeds": [{"title": "🜂" * 129}]}, 50035),
        ({"embeds": [{"description": "x" * 4097}]}, 50035),
        ({"embeds": [{"title": "t", "fields": [FIELD] * 26}]}, 50035),
        ({"embeds": [{"title": "t", "fields": [{**FIELD, "value": "x" * 1025}]}]}, 50035),
        ({"embeds": [{"title": "t", "fields": [{**FIELD, "value": ""}]}]}, 50035),
        ({"embeds": [{"title": "t"}] * 11}, 50035),
        ({"embeds": [{"description": "x" * 3001}] * 2}, 50035),
    ],
)
def test_a_message_over_a_limit_is_refused(body, code):
    async def story(fake, ask):
        status, document, _ = await ask(body)
        assert (status, document["code"]) == (400, code)
        assert not fake.messages

    run(story)


def test_the_sixth_request_in_two_seconds_is_refused_and_earlier_headers_announce_it():
    async def story(fake, ask):
        fake.clock = lambda: 1000.0
        for left in (4, 3, 2, 1, 0):
            _, _, headers = await ask({"content": "one"})
            assert headers["X-RateLimit-Remaining"] == str(left)
        status, document, headers = await ask({"content": "one"})
        assert (status, document["retry_after"], document["global"]) == (429, 2.0, False)
        assert int(headers["Retry-After"]) >= document["retry_after"]
        fake.clock = lambda: 1002.0
        assert (await ask({"content": "one"}))[0] == 200

    run(story)
